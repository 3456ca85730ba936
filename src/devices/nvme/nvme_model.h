/* SPDX-License-Identifier: BSD-3-Clause */
/* The NVMe controller, for the table of models. */
#ifndef UVFIO_NVME_MODEL_H
#define UVFIO_NVME_MODEL_H

#include <uvfio/device.h>

extern const struct uvfio_model nvme_model;

struct nvme_ctrl;

/*
 * storage.c: the storage of a controller that is moved.  [work context; the controller is quiet and
 * nothing of it is in flight]  Both as ->leave() and ->enter() of <uvfio/migration.h>: 0, -errno
 * with a message, or -EINPROGRESS: uvfio_migration_done() is called then.
 */
/* What was written is on stable storage, and the locks are given back. */
int nvme_storage_release(struct nvme_ctrl *c, struct uvfio_error *err);
/* The locks are taken.  -EBUSY: another one has them; then none is held. */
int nvme_storage_take(struct nvme_ctrl *c, struct uvfio_error *err);

#endif
