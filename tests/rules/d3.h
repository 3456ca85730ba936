/* SPDX-License-Identifier: BSD-3-Clause */
/* What the cases about iommufd and device nodes share (d3_*.c). */
#ifndef RULES_D3_H
#define RULES_D3_H

#include "facts.h"
#include "../../src/vfio/iommufd_uapi.h"

#define READ  IOMMUFD_MAP_READ
#define WRITE IOMMUFD_MAP_WRITE
#define FIXED IOMMUFD_MAP_FIXED

/* /dev/iommu, and the node of a device; the case ends when that fails. */
int open_iommu(struct t *t);
int open_node(struct t *t, const struct facts *f);
/* An ioctl with a struct that begins with its size: 0 or -errno. */
long call(int fd, unsigned cmd, void *arg);

/* Everything that a case may need, opened: t->container is the iommufd, t->dev the device's node.
 */
struct d3 {
	uint32_t dev;  /* the device's id */
	uint32_t ioas; /* an IOAS */
	uint32_t hwpt; /* what ATTACH made of it */
};
void open_bound(struct t *t, struct d3 *d);    /* the device is bound; there is an IOAS */
void open_attached(struct t *t, struct d3 *d); /* and the device is attached to it */

uint32_t new_ioas(struct t *t);
long bind_node(int node, int iommufd, uint32_t *id);
long attach(int node, uint32_t *pt);
long detach(int node);
long destroy(struct t *t, uint32_t id);
long map_fixed(struct t *t, uint32_t ioas, uint64_t iova, const void *p, uint64_t length,
	       uint32_t flags);
long unmap(struct t *t, uint32_t ioas, uint64_t iova, uint64_t *length);

long map_file(struct t *t, uint32_t ioas, int fd, uint64_t start, uint64_t length, uint32_t flags,
	      uint64_t iova);
long copy(struct t *t, uint32_t dst, uint64_t to, uint32_t src, uint64_t from, uint64_t length,
	  uint32_t flags);

extern const struct section section_d3_frame, section_d3_ioas, section_d3_device, section_d3_groups,
	section_d4_export, section_d4_map_file;

#endif
