// SPDX-License-Identifier: BSD-3-Clause
/* The cases that ask for what a message does not have, though their calls have messages. */
#include <fnmatch.h>
#include "wire.h"

#define OWN_FILE  "the descriptor is the client's own socket"
#define NO_MEMORY "memory is named by a descriptor: the client's own mappings of it do not count"
#define NO_DATA   "what is not in the message is not there: no data is missing elsewhere"
#define REPLY     "argsz of a reply is the size of the reply"

static const struct {
	const char *pattern, *reason;
} table[] = {
	{"A.3/descriptor-flags", OWN_FILE},
	{"A.4/device-outlives-group-descriptor", NO_GROUPS},
	{"A.4/duplicate-keeps-open", OWN_FILE},
	{"A.6/access/file-position", OWN_FILE},
	{"A.6/REGION_INFO/offsets", "offsets in the device file are the client's own business"},
	{"A.8/SET_IRQS/3/*data-missing*", NO_DATA},
	{"D.2/MAP/no-memory", NO_MEMORY},
	{"D.2/MAP/null", NO_MEMORY},
	{"D.2/MAP/kernel-address", NO_MEMORY},
	{"D.2/MAP/read-only-memory*", NO_MEMORY},
	{"D.2/MAP/rolled-back", NO_MEMORY},
	{"D.2/MAP/memory-*", NO_MEMORY},
	{"D.2/MAP/beyond-end-of-file", NO_MEMORY},
	{"D.2/MAP/other-process", OWN_FILE},
	{"D.2/MAP/locked-memory*", "what a descriptor names is not locked in the client's name"},
	{"D.2/MAP/failures-cost-no-entry", NO_MEMORY},
};

const char *wire_na(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		if (!fnmatch(table[i].pattern, name, 0))
			return table[i].reason;
	}
	return NULL;
}
