/* How ndis.sys reaches what fwpkclnt.sys keeps of drivers. SPDX-License-Identifier: MIT */
#ifndef MODEL_FAR_H
#define MODEL_FAR_H

#include "contract.h"

struct contract_far {
    void (*broken)(const char *rule, const char *call, const char *text);
    void (*add)(enum holding kind, const void *object, size_t size, UINT32 tag);
    BOOL (*drop)(enum holding kind, const void *object);
    void (*fatal)(UINT32 code, UINT64 a, UINT64 b, UINT64 c, UINT64 d);
    BOOL (*in_classify)(const NET_BUFFER_LIST **shown);
};
const struct contract_far *NTAPI ModelContract(void); /* exported by fwpkclnt.sys */

#endif
