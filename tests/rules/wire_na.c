// SPDX-License-Identifier: BSD-3-Clause
/* The cases that ask for what a message does not have, though their calls have messages. */
#include <fnmatch.h>
#include "wire.h"

#define NO_NUMBERS                                                                                 \
	"a message has the number of its command: there are no others, and no other files"
#define OWN_FILE  "the descriptor is the client's own socket"
#define NO_MEMORY "memory is named by a descriptor: the client's own mappings of it do not count"
#define NO_SYSFS  "the machine's sysfs is not the client's"
#define NO_DATA   "what is not in the message is not there: no data is missing elsewhere"
#define OWN_MAP                                                                                    \
	"a region's file is mapped by the client: what its kernel allows is not the server's"

static const struct {
	const char *pattern, *reason;
} table[] = {
	{"A.1/version/*", NO_GROUPS},
	{"A.1/extension/*", NO_GROUPS},
	{"A.1/unknown/*", NO_NUMBERS},
	{"A.1/kind/*", NO_NUMBERS},
	{"A.1/cdev-call/*", NO_NUMBERS},
	{"A.1/fault/*", NO_ADDRESSES},
	{"A.3/descriptor-flags", OWN_FILE},
	{"A.4/device-outlives-group-descriptor", NO_GROUPS},
	{"A.4/duplicate-keeps-open", OWN_FILE},
	{"A.4/siblings/*", NO_GROUPS},
	{"A.5/RESET/sibling", NO_GROUPS},
	{"A.5/HOT_RESET*", "the protocol has no reset of a slot or bus"},
	{"A.6/access/file-position", OWN_FILE},
	{"A.6/mmap/private", OWN_MAP},
	{"A.6/mmap/cannot-grow", OWN_MAP},
	{"A.6/REGION_INFO/offsets", "offsets in the device file are the client's own business"},
	{"A.8/SET_IRQS/3/*data-missing*", NO_DATA},
	{"A.9/off/*", NO_GROUPS},
	{"A.9/denied/*", NO_GROUPS},
	{"A.9/extension", NO_GROUPS},
	{"A.9/node/*", NO_GROUPS},
	{"A.9/SET_IOMMU/*", NO_GROUPS},
	{"A.9/GET_STATUS/*", NO_GROUPS},
	{"A.9/calls/others", NO_GROUPS},
	{"A.9/two-*", NO_GROUPS},
	{"A.7/PF/*", NO_SYSFS},
	{"A.7/VF/*", NO_SYSFS},
	{"B.1/*", NO_SYSFS},
	{"C.*", NO_SYSFS},
	{"D.1/*", NO_GROUPS},
	{"D.2/DIRTY/*", NO_DIRTY},
	{"D.2/INFO/*", "the protocol cannot ask what the address space offers"},
	{"D.2/MAP/no-memory", NO_MEMORY},
	{"D.2/MAP/null", NO_MEMORY},
	{"D.2/MAP/kernel-address", NO_MEMORY},
	{"D.2/MAP/read-only-memory*", NO_MEMORY},
	{"D.2/MAP/rolled-back", NO_MEMORY},
	{"D.2/MAP/memory-*", NO_MEMORY},
	{"D.2/MAP/memory/*", NO_MEMORY},
	{"D.2/MAP/beyond-end-of-file", NO_MEMORY},
	{"D.2/MAP/other-process", OWN_FILE},
	{"D.2/MAP/locked-memory*", "what a descriptor names is not locked in the client's name"},
	{"D.2/MAP/device-memory*", NO_MEMORY},
	{"D.2/MAP/failures-cost-no-entry", NO_MEMORY},
	{"D.3/*", "a connection is its own address space: there are no iommufds and no nodes"},
	{"D.4/*",
	 "a region's descriptor comes with GET_REGION_INFO: nothing has to be exported, and "
	 "there is no iommufd"},
	{"A.10/migration/faults", NO_ADDRESSES},
	{"A.10/migration/read-only", NO_ADDRESSES},
	{"E.3/file/flags", NO_FILE},
	{"E.3/file/other-calls", NO_FILE},
	{"E.3/file/polled", NO_FILE},
	{"E.3/file/outlives-device", NO_FILE},
	{"E.3/PRECOPY_INFO/*", NO_FILE},
	{"E.3/stopped/under-way", NO_MEMORY},
	{"E.3/stopped/moves-along", NO_MEMORY},
	{"E.3/p2p/starts-nothing", NO_MEMORY},
	{"E.3/p2p/not-started", NO_MEMORY},
	{"E.3/p2p/power", NO_MEMORY},
	{"E.3/pre-copy/runs", NO_MEMORY},
	{"E.3/p2p/peer-writes", NO_GROUPS},
	{"E.3/p2p/two-passes", NO_GROUPS},
	{"E.3/dirty/union", NO_GROUPS},
	{"E.3/mapped/*", NO_GROUPS},
	{"E.4/START/none", "without ranges a message means all of the memory"},
	{"E.4/faults", NO_ADDRESSES},
	{"F.1/attach/*", NO_GROUPS},
	{"F.1/bind/*", "a connection is its own address space: there are no iommufds and no nodes"},
	{"F.1/window/ranges", "the protocol cannot ask what the address space offers"},
	{"F.1/window/reserved-region", NO_SYSFS},
};

const char *wire_na(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		if (!fnmatch(table[i].pattern, name, 0))
			return table[i].reason;
	}
	return NULL;
}
