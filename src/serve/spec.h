/* SPDX-License-Identifier: BSD-3-Clause */
/* A device's options: which are the socket's, and which files they name. */
#ifndef UVFIO_SERVE_SPEC_H
#define UVFIO_SERVE_SPEC_H

#include <stdbool.h>
#include <sys/types.h>
#include <uvfio/device.h>

struct serve_spec {
	char *device; /* what is left for the machine: "nvme,file=disk.img"; owned */
	char *socket; /* path, or fd:NAME of a socket that was passed; owned, NULL when absent */
	mode_t mode;  /* 0600 */
	char *group;  /* of the socket's file; owned, NULL when absent */
	char *vf_sockets; /* where a PF's VFs are served, with one %u; owned, NULL when absent */
	bool mmap;        /* clients may map doorbells */
	unsigned spin_us; /* how long to poll a busy client's socket; only if @spin_given */
	bool mode_given, mmap_given, spin_given;
};

/* Take socket=, mode=, group=NAME, mmap=, spin= and vf-sockets= out of @text.  (group=NUMBER is the
 * IOMMU group, as in every device.)  0, or -EINVAL with a message, or -ENOMEM; fini either way. */
int serve_spec_parse(const char *text, struct serve_spec *spec, struct uvfio_error *err);
void serve_spec_fini(struct serve_spec *spec);
/* The path for VF @index; to be freed.  NULL: out of memory. */
char *serve_spec_vf_socket(const char *pattern, unsigned index);

/* Does an option of the device @text, or a part of one (ns=file=PATH:…), have exactly this value?
 * @to_write: and does it not say readonly=on beside it? */
bool serve_spec_names(const char *text, const char *value, bool to_write);

#endif
