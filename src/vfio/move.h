/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An operator moves a device (`uvfio migrate`, `save`, `restore`, `upgrade`), with what its user
 * has of it: the stream of a migration (E.3) and the sections of keep.h.
 *
 * Theory of operation.  The user goes on, and is not asked: its calls wait while the device is
 * still, as they do for a reset.  One side owns the device at every moment; who hands it over says
 * so (->give) before it tells the other, and does not run it again unless the other says that it
 * has not taken it, or an operator decides (vfio_device_resume()).
 *
 *   saving:   BEGUN ──pause──▶ PAUSED ──give──▶ GIVEN ──end(GONE)──▶ device GONE
 *               └──────end(BACK)─┴───────────────┤ end(BACK): it runs on
 *                                                └─end(DOUBT): device IN_DOUBT
 *   loading:  BEGUN ──loaded──▶ LOADED ──take──▶ TAKEN ──end(BACK)──▶ device HERE
 *               └───end(BACK)──────┴─end(DOUBT): device IN_DOUBT
 *               (dropped: what it was before; if it was HERE, as after a reset at its next open)
 *
 * A device that is GONE is still for good and cannot be opened (EBUSY: a client that follows its
 * device asks here again until it is led elsewhere); a reset by the host makes a new one of it, and
 * so does loading.  One that is IN_DOUBT keeps what it is, or what it is to be, until an operator
 * says whose it is.  What it is: for `show` and so on, "here" and so on.
 *
 * Threads: one at a time for a struct vfio_move; all may wait for the device.  The device is kept
 * from being removed while there is one.  When the device is reset, closed by its last user or
 * pulled out meanwhile, the session has ended: -ENODEV, -EIO; what is left is to end it.
 */
#ifndef UVFIO_VFIO_MOVE_H
#define UVFIO_VFIO_MOVE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uvfio/error.h>
#include "migration/migration.h"

struct vfio_device;
struct vfio_move;

enum vfio_move_kind { VFIO_MOVE_SAVE, VFIO_MOVE_LOAD };

enum vfio_place {
	VFIO_HERE,
	VFIO_LEAVING,  /* being saved */
	VFIO_ARRIVING, /* being loaded */
	VFIO_IN_DOUBT, /* it was given, or has come, and nobody has said that it is whose */
	VFIO_GONE,
	NR_VFIO_PLACES
};
enum vfio_place vfio_device_place(const struct vfio_device *dev);
const char *vfio_place_name(enum vfio_place place); /* "here", "leaving", … */

/*
 * -EOPNOTSUPP: its model cannot be moved; -EBUSY: its user moves it, another operator does, it is
 * in doubt or gone, it has VFs, its user has not followed it here yet; to be loaded: somebody has
 * it open; -EIO: it was pulled out. Always with a message.
 */
int vfio_move_begin(struct vfio_device *dev, enum vfio_move_kind kind, struct vfio_move **out,
		    struct uvfio_error *err);

/* ---- saving ---- */

/* The next bytes of the stream: how many, 0 at its end, which only a paused device has; -ENOMSG:
 * none now; or -errno. */
ssize_t vfio_move_read(struct vfio_move *move, void *buf, size_t len);
/* The same without a copy: *@bytes, @max at most, whole sections where they fit.  They stay there
 * until the next call of one of the two, or vfio_move_end(). */
ssize_t vfio_move_lend(struct vfio_move *move, const void **bytes, size_t max);
/* Nobody has it open, so that nobody waits while it is paused. */
bool vfio_move_is_idle(struct vfio_move *move);
/* Bytes that are to be moved before it is paused, about; -EINVAL when it is paused, or its model
 * saves nothing before. */
int vfio_move_left(struct vfio_move *move, struct mig_left *out);
/* Bytes of a device that is paused at once, about. */
uint64_t vfio_move_size(struct vfio_move *move);
/* From here on its user's calls wait and it stays as it is.  -EBUSY: one of those calls does not
 * return; whatever the model says.  On failure it runs on. */
int vfio_move_pause(struct vfio_move *move, struct uvfio_error *err);
/* All was read and the other side is ready: it is that one's unless that says otherwise. -ENODEV:
 * it was reset meanwhile, and is not given. */
int vfio_move_give(struct vfio_move *move, struct uvfio_error *err);

/* ---- loading ---- */

/* @len, or -errno with a message: the stream is not what this device can take. */
ssize_t vfio_move_write(struct vfio_move *move, const void *buf, size_t len,
			struct uvfio_error *err);
/* 0: all of it has come and was understood. */
int vfio_move_loaded(struct vfio_move *move, struct uvfio_error *err);
/* It becomes what was loaded, and this side's.  -errno with a message: it does not, and the other
 * side may keep it (-EBUSY: storage that the other has not let go). */
int vfio_move_take(struct vfio_move *move, struct uvfio_error *err);

enum vfio_move_end { VFIO_MOVE_BACK, VFIO_MOVE_GONE, VFIO_MOVE_DOUBT };
/* End it in one of the ways of the picture above, and free it.  BACK of one that was saved can fail
 * (-EBUSY: its storage is not to be had again): then the device is IN_DOUBT. */
int vfio_move_end(struct vfio_move *move, enum vfio_move_end how, struct uvfio_error *err);

/* An operator says that a device in doubt is @here: it runs on, or becomes what was loaded; or that
 * it is not: it is GONE.  -EINVAL: it is not in doubt; what taking it answers. */
int vfio_device_resume(struct vfio_device *dev, bool here, struct uvfio_error *err);

#endif
