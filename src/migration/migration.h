/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device that migrates: the state that it is in, changes of it, and the session of data that some
 * states have (E.2, E.3).  Every interface to it (features, messages, the old region) is a view of
 * this.
 *
 * Theory of operation.  A change goes arc by arc (state.h); each arc is the device's to take, by an
 * operation.  An arc that fails leaves the device where it was, or lost: in ERROR, which a reset
 * alone leaves.  The arcs into a session make a struct mig_data, for which the door has a file;
 * those out of it end that, whoever still has the file.
 *
 * Data comes from the device in sections, some at a time, and is kept here until it was read; so it
 * never has more than MIG_HELD_BYTES of it here.  What is written is checked as a stream and handed
 * to the device section by section.  The device keeps it aside, and puts it into effect when all of
 * it has come and the session is left for STOP; whatever happens before changes nothing.
 *
 * Locks: the caller's.  All calls for one device, and its mig_data, are made one at a time; the
 * operations are called within them, and may wait for the device.
 */
#ifndef UVFIO_MIGRATION_MIGRATION_H
#define UVFIO_MIGRATION_MIGRATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uvfio/error.h>
#include "migration/state.h"
#include "migration/stream.h"

#define MIG_HELD_BYTES (16ull << 20)

/* How much there is to be saved, in bytes, before the device stops. */
struct mig_left {
	uint64_t initial; /* what is to be moved before stopping is worth its while */
	uint64_t dirty;   /* what has changed since, about */
};

struct mig_ops {
	/*
	 * Take one arc.  0; or -errno, and the device is in @from as before; or -errno with *@lost
	 * set: it is in neither.  Into STOP_COPY and the states of pre-copy nothing is to be done
	 * but for what saving needs; into RESUMING it begins to keep sections aside, out of it to
	 * STOP they are put into effect (-EINVAL, with a message, when they do not make a state).
	 */
	int (*arc)(void *arg, enum mig_state from, enum mig_state to, bool *lost,
		   struct uvfio_error *err);
	/*
	 * Put further sections into @out, at least one and MIG_SECTION_BYTES_MAX or so of contents.
	 * 1: there is more, or it is still looking and has put none; 0: there is none, now (while
	 * it runs) or in all (it is stopped); or -errno.
	 */
	int (*save)(void *arg, bool stopped, struct mig_writer *out);
	/* A section to keep aside: 0, or -errno with a message. */
	int (*load)(void *arg, struct mig_section *section, struct uvfio_error *err);
	/* What was kept aside is not needed: the session ends without it. */
	void (*forget)(void *arg);
	void (*left)(void *arg, struct mig_left *out);
	/* About how many bytes a session is that begins in STOP_COPY. */
	uint64_t (*size)(void *arg);
};

struct migration;
/* A session of data; a reference each for the machine and for who was given it. */
struct mig_data;

/* @model: its name, literal or as long-lived.  @can: MIG_CAN_…, with MIG_CAN_STOP_COPY.  NULL: no
 * memory. */
struct migration *migration_new(const struct mig_ops *ops, void *arg, const char *model,
				unsigned can);
void migration_free(struct migration *m);
unsigned migration_can(const struct migration *m);
enum mig_state migration_state(const struct migration *m);

/*
 * Go to @target.  0, and *@data is the session that has begun on the way, the caller's reference,
 * or NULL when none has.  -EINVAL for a target that there is no way to (nothing has happened); what
 * an arc answered: then the state is that before this arc, or ERROR, and *@data is NULL.
 */
int migration_set(struct migration *m, unsigned target, struct mig_data **data,
		  struct uvfio_error *err);
/* The device was reset: RUNNING, whatever it was; a session ends. */
void migration_reset(struct migration *m);
uint64_t migration_size(const struct migration *m);

/* ---- data ---- */

void mig_data_put(struct mig_data *data);
/* Whose it is; NULL when its session has ended. */
struct migration *mig_data_migration(const struct mig_data *data);
bool mig_data_saves(const struct mig_data *data);

/*
 * The next bytes: how many.  0: all were read (STOP_COPY); -ENOMSG: none now (pre-copy); -EBADF: it
 * is a session that is written; -ENODEV: it has ended; -EAGAIN: not yet, the device is looking:
 * call again, when others have had the caller's lock; what the device answered.
 */
ssize_t mig_data_read(struct mig_data *data, void *buf, size_t len);
/* The same without a copy: *@bytes is where the next ones lie, which stay the next ones, and stay
 * there, until mig_data_take() says how many were used. */
ssize_t mig_data_peek(struct mig_data *data, const void **bytes);
void mig_data_take(struct mig_data *data, size_t len);
/* From here on, what was peeked stays where it is, also when it was taken or the session ends,
 * until more is read or the caller puts its reference. */
void mig_data_pin(struct mig_data *data);
/* Of what was peeked: how many bytes, @max at most, end where a section does; or as many as may be,
 * of one that is longer. */
size_t mig_data_cut(struct mig_data *data, size_t max);
/* How many the device has given that were not read; *@complete: it will give no more. */
size_t mig_data_held(const struct mig_data *data, bool *complete);
/* All of them: @len.  -EBADF, -ENODEV as above; -EINVAL and so on: the stream is not what this
 * device can take, and stays so (@err says why). */
ssize_t mig_data_write(struct mig_data *data, const void *buf, size_t len, struct uvfio_error *err);
/* Has all of the stream come?  0; -EINVAL with a message, or what was wrong with it; -ENODEV,
 * -EBADF as above. */
int mig_data_complete(struct mig_data *data, struct uvfio_error *err);
/* 1: a read would not answer -ENOMSG, or a write may be made, which it always may; 0; -EAGAIN as
 * above.  What there is to be read is fetched for that. */
int mig_data_readable(struct mig_data *data);
/* PRECOPY_INFO: 0, -EINVAL in any other state than those of pre-copy, -ENODEV. */
int mig_data_left(struct mig_data *data, struct mig_left *out);

#endif
