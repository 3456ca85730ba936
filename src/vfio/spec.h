/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What stands behind `--device`: a model, its keys, and the core's own keys.
 */
#ifndef UVFIO_VFIO_SPEC_H
#define UVFIO_VFIO_SPEC_H

#include <stdbool.h>
#include <stdint.h>
#include <uvfio/device.h>
#include "vfio/migrate.h"
#include "vfio/token.h"

/* The core's own keys, which any device has. */
struct device_keys {
	const struct uvfio_model *model;
	const char *addr; /* NULL: not given */
	bool has_group;
	unsigned group;
	int mmio;              /* as vfio_device_mmio() */
	const char *driver;    /* which has it at first; NULL: not given, vfio-pci */
	const char *bus_reset; /* a name or "off"; NULL: not given (A.5) */
	bool noiommu;          /* iommu=off (A.9) */
	unsigned numvfs;       /* numvfs=, 0: none (C) */
	bool acs_off;          /* acs=off: VFs share their PF's group (D.1) */
	bool has_migration;    /* migration=, what clients see of it (E) */
	enum migration_interface migration;
	unsigned migration_cannot; /* what migration-can= leaves out: UVFIO_MIGRATE_… */
	uint64_t poll_ns;          /* poll-interrupt=, 0: none (A.8) */
	uint64_t vf_poll_ns;       /* vf-poll-interrupt=, the same of its VFs */
	/* vf_token=, or what spec_read_token() reads; of a PF (C) */
	bool has_token;
	struct vfio_token token;
	const char *token_file; /* vf_token_file=; NULL: not given */
};

struct device_spec {
	char *text; /* all strings point into it */
	size_t text_bytes;
	const char *model;
	struct uvfio_option *options; /* the model's */
	unsigned nr_options;
	struct device_keys keys;
};

struct vfio_machine;

/* Take @text apart, find its model, check its keys and the values of the core's own.  0 or -errno
 * with a message; spec_fini() in any case. */
int spec_parse(struct vfio_machine *machine, const char *text, struct device_spec *spec,
	       const struct uvfio_model **model, struct uvfio_error *err);
/* Wipes what there is of tokens. */
void spec_fini(struct device_spec *spec);
/* Read the token file that @spec names, if it does.  0 or -errno with a message. */
int spec_read_token(struct vfio_machine *machine, struct device_spec *spec,
		    const struct uvfio_model *model, struct uvfio_error *err);

#endif
