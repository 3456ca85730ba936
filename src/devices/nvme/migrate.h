/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The state of a controller for its migration: what the files migrate*.c share.
 *
 * Theory of operation.  The state is a row of sections (docs/devices/nvme.md lists them), each with
 * four functions:
 *
 *	save   puts its contents into the stream, of a controller that is paused (pause.c) and of
 *	       which nothing is in flight;
 *	load   takes them from a stream that may be anybody's, checks each value by itself, and
 *keeps them aside in struct nvme_aside; check  once all have come: do they fit together, and this
 *controller? apply  puts them into effect.  It cannot fail.
 *
 * All checks come before the first apply, so that a stream is put into effect, or nothing of it.
 *
 * Threads: the work context.
 */
#ifndef UVFIO_NVME_MIGRATE_H
#define UVFIO_NVME_MIGRATE_H

#include "devices/nvme/nvme.h"

/* Which section; in the order of the stream. */
enum nvme_section_id {
	NVME_SEC_IDENTITY,
	NVME_SEC_CONTROLLER,
	NVME_SEC_FEATURES,
	NVME_SEC_QUEUES,
	NVME_SEC_COMMANDS,
	NVME_SEC_LOGS,
	NVME_SEC_NAMESPACES,
	NVME_SEC_PMR,
	NVME_SEC_SUBSYSTEM,
	NVME_NR_SECTIONS
};

struct nvme_aside_cq {
	bool used, phase, ien;
	uint16_t vector;
	uint64_t base;
	uint32_t size, head, tail;
	uint8_t nr_batch; /* entries that are made and not written yet */
	struct nvme_cqe batch[NVME_POST_MAX];
};

struct nvme_aside_sq {
	bool used;
	uint16_t cqid;
	uint64_t base;
	uint32_t size, head, tail;
};

/* A command in progress. */
struct nvme_aside_command {
	enum nvme_moved {
		NVME_MOVED_DONE,  /* executed; its completion entry is to be posted */
		NVME_MOVED_HELD,  /* an Asynchronous Event Request */
		NVME_MOVED_AGAIN, /* to be executed from its beginning */
		NVME_NR_MOVED
	} kind;
	bool owns_cid;
	uint16_t sqid, status;
	uint32_t dw0;
	struct nvme_sqe cmd;
};

struct nvme_aside_ns {
	uint64_t size; /* bytes, of the storage */
	uint16_t tler;
	uint8_t shift;
	bool readonly, attached, changed;
};

/* What Write Uncorrectable has marked. */
struct nvme_aside_bad {
	struct nvme_bad_range *ranges; /* room for NVME_BAD_RANGES_MAX; NULL: none has come */
	unsigned nr;
};

/* What has come. */
struct nvme_aside {
	unsigned have; /* a bit for each section */

	struct {
		enum nvme_state state;
		uint32_t csts, cc, shn, aqa, intm, msi_held;
		uint64_t asq, acq, cmbmsc, pmrmsc, shadow, event;
		uint8_t page_bits;
		bool dbbuf, pmr_first;
		uint32_t shutdown_index;
	} ctrl;

	struct nvme_features feat;
	uint64_t timestamp_age;      /* ns */
	struct nvme_vector *vectors; /* nr_vectors */

	struct nvme_aside_cq *cqs; /* nr_queues + 1 of each */
	struct nvme_aside_sq *sqs;

	struct nvme_aside_command *commands;
	unsigned nr_commands;

	struct nvme_counters count;
	uint64_t power_on; /* ns */
	uint16_t temperature;
	uint8_t events[NVME_NR_EVENT_TYPES];
	bool event_masked[NVME_NR_EVENT_TYPES];
	struct nvme_error_entry errors[NVME_ERROR_ENTRIES]; /* the oldest first */
	unsigned nr_errors;

	struct nvme_aside_ns *ns; /* nr_ns of each */
	struct nvme_aside_bad *bad;
	bool volatile_cache;

	struct {
		uint8_t phase, err, health;
		bool ready, settled;
	} pmr;

	bool managed;
	struct nvme_secondary *secondaries; /* total_vfs */
	uint8_t *attached;                  /* as disks[0].attached, for all */
};

struct nvme_section {
	const char *kind;
	uint32_t version;
	bool (*has)(const struct nvme_ctrl *c); /* NULL: every controller has it */
	void (*save)(struct nvme_ctrl *c, struct uvfio_save *out);
	/* What is wrong (a message in @err) is -EINVAL; -ENOMEM; also when the section is shorter
	 * or longer than what was read of it, which the caller sees to. */
	int (*load)(struct nvme_ctrl *c, struct uvfio_load *in, struct nvme_aside *a,
		    struct uvfio_error *err);
	int (*check)(struct nvme_ctrl *c, const struct nvme_aside *a, struct uvfio_error *err);
	void (*apply)(struct nvme_ctrl *c, struct nvme_aside *a);
};

extern const struct nvme_section nvme_section_identity, nvme_section_controller,
	nvme_section_features, nvme_section_logs;                            /* migrate_ctrl.c */
extern const struct nvme_section nvme_section_queues, nvme_section_commands; /* migrate_queues.c */
extern const struct nvme_section nvme_section_namespaces, nvme_section_pmr,
	nvme_section_subsystem; /* migrate_ns.c */

/* Write Uncorrectable's marks: a section for each namespace that has some.  migrate_ns.c */
#define NVME_BAD_SECTION         "NVBD"
#define NVME_BAD_SECTION_VERSION 1u
bool nvme_bad_save(struct nvme_ctrl *c, unsigned index, struct uvfio_save *out);
int nvme_bad_load(struct nvme_ctrl *c, struct uvfio_load *in, struct nvme_aside *a,
		  struct uvfio_error *err);

/* A boolean; anything but 0 and 1 sets *@bad. */
static inline bool nvme_load_bool(struct uvfio_load *in, bool *bad)
{
	uint8_t v = uvfio_load_u8(in);

	if (v > 1)
		*bad = true;
	return v;
}

#endif
