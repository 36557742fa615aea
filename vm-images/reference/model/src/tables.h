/* Facts about layers and sublayers, generated from data/layers.json. SPDX-License-Identifier: MIT */
#ifndef MODEL_TABLES_H
#define MODEL_TABLES_H

#include "abi.h"
#include "conditions.h"

struct field_fact {
    uint16_t condition; /* index into condition_keys */
    FWP_DATA_TYPE type;
};
struct layer_fact {
    uint16_t id;
    GUID key;
    const char *name;
    uint32_t field_count;
    const struct field_fact *fields;
};
struct sublayer_fact {
    GUID key;
    uint16_t weight;
};

extern const GUID condition_keys[];
extern const struct layer_fact layer_facts[];
extern const unsigned layer_fact_count;
extern const struct sublayer_fact sublayer_facts[];
extern const unsigned sublayer_fact_count;

#endif
