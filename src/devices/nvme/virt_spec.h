/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers and layouts of the NVM Express standard (nvme_spec.h) of what several controllers of a
 * subsystem need: lists of them, Virtualization Management, Namespace Management. */
#ifndef UVFIO_NVME_VIRT_SPEC_H
#define UVFIO_NVME_VIRT_SPEC_H

#include <assert.h>
#include <stdint.h>

/* A controller list: how many, then their identifiers, ascending. */
#define NVME_CONTROLLER_LIST_MAX 2047

enum nvme_attach_select { NVME_ATTACH_ATTACH = 0, NVME_ATTACH_DETACH = 1 };
enum nvme_ns_select { NVME_NS_CREATE = 0, NVME_NS_DELETE = 1 };

enum nvme_virt_action {
	NVME_VIRT_PRIMARY_ALLOCATE = 1,
	NVME_VIRT_SECONDARY_OFFLINE = 7,
	NVME_VIRT_SECONDARY_ASSIGN = 8,
	NVME_VIRT_SECONDARY_ONLINE = 9,
};

/* CNS 14h.  VQ: queues, VI: interrupts. */
struct nvme_primary_caps {
	uint16_t cntlid, portid;
	uint8_t crt;
	uint8_t rsvd5[27];
	uint32_t vqfrt, vqrfa; /* flexible resources: in all, assigned to secondary controllers */
	uint16_t vqrfap;       /* and to the primary one */
	uint16_t vqprt;        /* its private ones */
	uint16_t vqfrsm;       /* what a secondary controller may have */
	uint16_t vqgran;
	uint8_t rsvd48[16];
	uint32_t vifrt, virfa;
	uint16_t virfap, viprt, vifrsm, vigran;
	uint8_t rsvd80[4016];
} __attribute__((packed));
static_assert(sizeof(struct nvme_primary_caps) == 4096, "primary controller capabilities");

#define NVME_CRT_VQ (1u << 0)
#define NVME_CRT_VI (1u << 1)

struct nvme_secondary_entry {
	uint16_t scid, pcid;
	uint8_t scs; /* bit 0: online */
	uint8_t rsvd5[3];
	uint16_t vfn, nvq, nvi;
	uint8_t rsvd14[18];
} __attribute__((packed));
static_assert(sizeof(struct nvme_secondary_entry) == 32, "secondary controller entry");

/* CNS 15h */
struct nvme_secondary_list {
	uint8_t nr;
	uint8_t rsvd1[31];
	struct nvme_secondary_entry entries[127];
} __attribute__((packed));
static_assert(sizeof(struct nvme_secondary_list) == 4096, "secondary controller list");

#endif
