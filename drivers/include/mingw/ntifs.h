/* mingw-w64 keeps its kernel headers below ddk/; the kit has them on the include path. SPDX-License-Identifier: MIT */
#include <ddk/ntifs.h>
