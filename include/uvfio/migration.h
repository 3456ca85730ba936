/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a device model does so that its devices can be moved while they are used: the state of the
 * device is taken out of one and put into another of the same model and the same options.
 *
 * The state is a row of sections.  Each has a kind (four characters, the model's own), a version,
 * and contents that the model lays out with the functions below, which are little-endian.  A newer
 * model reads older versions; an older one refuses newer ones.
 *
 * Not in it, because others see to it: what config space holds but for the model's own data, the
 * contents of UVFIO_AREA_MEMORY areas, pending interrupts, the MSI-X table.
 *
 * Threads: all operations run in the work context.  The device is quiet (->quiesce()) whenever
 * @stopped is true or a section is loaded, and nobody reaches its registers.
 */
#ifndef UVFIO_MIGRATION_H
#define UVFIO_MIGRATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uvfio/error.h>

#ifdef __cplusplus
extern "C" {
#endif

struct uvfio_save;
struct uvfio_load;

/*
 * What a model can besides being stopped and saved.  P2P: it can be quiet and yet answer: after
 * ->quiesce() its registers and its memory work as ever, but start no DMA.  PRE_COPY: ->save() is
 * of use while the device runs.
 */
#define UVFIO_MIGRATE_P2P      (1u << 0)
#define UVFIO_MIGRATE_PRE_COPY (1u << 1)
/*
 * Not something that it can but something that it cannot: its registers and its memory must be left
 * alone while it does not run.  Then it has no P2P, whatever else is said, and no device of the
 * machine can have its BARs as memory for DMA (D.4), so that none reaches it without its user's
 * knowledge.
 */
#define UVFIO_MIGRATE_QUIET_MMIO (1u << 2)

struct uvfio_migration_ops {
	unsigned can; /* UVFIO_MIGRATE_… */

	/*
	 * Put sections into @out, a part of a MiB at a time or all that there is when it is less.
	 * @stopped: of the device as it stays; else of what may be moved early, and must be moved
	 * again if it changes.  @first: a session begins; what was saved before is not there.
	 * Returns 1: call again, there is more; 0: that was all, when @stopped, or all for now;
	 * -EINPROGRESS: nothing was put, because it is not there yet, and uvfio_migration_done(0)
	 * will tell when to call again, with @first clear; -errno: the device cannot be saved.
	 */
	int (*save)(void *priv, struct uvfio_save *out, bool stopped, bool first);
	/*
	 * A section has come.  Check every value and keep it aside: the device stays as it is.
	 * @first: of a session; what is aside from an earlier one goes.  0, or -EINVAL with a
	 * message; or -EINPROGRESS: it is not taken yet, and after uvfio_migration_done(0) it is
	 * read again from its beginning, with @first clear.
	 */
	int (*load)(void *priv, struct uvfio_load *in, bool first, struct uvfio_error *err);
	/* All have come: the device is what they say, its registers published.  0, or -EINVAL with
	 * a message, and it is as before, or uvfio_migration_lost(). */
	int (*commit)(void *priv, struct uvfio_error *err);
	/* What is aside is not needed.  Also without a load. */
	void (*forget)(void *priv);
	/* Bytes that ->save() would give now, about: the first time, and again.  Optional. */
	void (*left)(void *priv, uint64_t *initial, uint64_t *dirty);
	/* Bytes of all sections of a device that is stopped, about. */
	uint64_t (*size)(void *priv);

	/*
	 * For a model that holds something which only one side of a move can hold: storage that
	 * both sides see, above all.  Both are optional, and called while the device is quiet and
	 * nobody reaches its registers.
	 *
	 * leave: the device goes to STOP_COPY, or to RESUMING.  What was done is to be where the
	 * other side finds it, and what is held to be given back; before anything is saved as
	 * @stopped, and before the first ->load().
	 * enter: what was given back is to be taken again: a device that was saved is to run (from
	 * STOP, where the source stays when the other side has it), or what was loaded is to be in
	 * effect (from RESUMING to STOP, after ->commit()).
	 *
	 * 0; or -errno with a message: the device stays in the state that it was in, with what it
	 * held then (unless it says uvfio_migration_lost()); or -EINPROGRESS:
	 * uvfio_migration_done() will tell, and @err is valid until then.  The user waits for it,
	 * so it must come; a reset waits, too. A reset ends those states without ->enter():
	 * ->reset() is to take what was given back.
	 */
	int (*leave)(void *priv, struct uvfio_error *err);
	int (*enter)(void *priv, struct uvfio_error *err);
	/* A session of saving is over, by a change of state, however far it has come; a reset ends
	 * one without this.  Optional. */
	void (*end)(void *priv);
};

struct uvfio_device;

/* [->create(), before uvfio_device_init()] This device can only @can (UVFIO_MIGRATE_…) of what its
 * model says; without a call, all of it. */
UVFIO_API void uvfio_migration_can(struct uvfio_device *dev, unsigned can);

/* [work context] In ->quiesce(): it is because the device is to be moved or may be; what is under
 * way is not to fail but to wait, and goes on after ->resume() or ->commit().  Else bus mastering
 * went off, or a reset comes. */
UVFIO_API bool uvfio_paused(const struct uvfio_device *dev);
/* [work context, or before uvfio_migration_done()] In ->leave(), ->commit() or ->enter(), which
 * fails then: the device is neither what it was nor what it was to be, and its state is ERROR, in
 * which it does nothing.  A reset alone makes it work again. */
UVFIO_API void uvfio_migration_lost(struct uvfio_device *dev);
/* [any thread] Once for each ->leave(), ->enter(), ->save() or ->load() that has returned
 * -EINPROGRESS: 0, or -errno with its @err set. */
UVFIO_API void uvfio_migration_done(struct uvfio_device *dev, int result);

/* ---- writing ---- */

/* Begin a section; the one before ends.  @kind: four characters. */
UVFIO_API void uvfio_save_section(struct uvfio_save *out, const char *kind, uint32_t version);
UVFIO_API void uvfio_save_u8(struct uvfio_save *out, uint8_t value);
UVFIO_API void uvfio_save_u16(struct uvfio_save *out, uint16_t value);
UVFIO_API void uvfio_save_u32(struct uvfio_save *out, uint32_t value);
UVFIO_API void uvfio_save_u64(struct uvfio_save *out, uint64_t value);
UVFIO_API void uvfio_save_bytes(struct uvfio_save *out, const void *bytes, size_t len);

/* ---- reading ---- */

/* Is the section of this kind? */
UVFIO_API bool uvfio_load_is(const struct uvfio_load *in, const char *kind);
UVFIO_API const char *uvfio_load_kind(const struct uvfio_load *in); /* for messages */
UVFIO_API uint32_t uvfio_load_version(const struct uvfio_load *in);
/* Zero behind the end of the section, which uvfio_load_ok() tells. */
UVFIO_API uint8_t uvfio_load_u8(struct uvfio_load *in);
UVFIO_API uint16_t uvfio_load_u16(struct uvfio_load *in);
UVFIO_API uint32_t uvfio_load_u32(struct uvfio_load *in);
UVFIO_API uint64_t uvfio_load_u64(struct uvfio_load *in);
/* The next @len bytes, valid during ->load(); NULL when there are not so many. */
UVFIO_API const void *uvfio_load_bytes(struct uvfio_load *in, size_t len);
UVFIO_API size_t uvfio_load_left(const struct uvfio_load *in);
/* Nothing was read that was not there, and nothing is left. */
UVFIO_API bool uvfio_load_ok(const struct uvfio_load *in);

#ifdef __cplusplus
}
#endif

#endif
