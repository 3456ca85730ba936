/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What clients have mapped of a device's BARs, and how stores that do not trap are found there.
 * For machine_private.h, where the locks are.
 */
#ifndef UVFIO_VFIO_VIEW_H
#define UVFIO_VFIO_VIEW_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "vfio/bar.h"

struct vfio_device;
struct mig_buf;
struct mig_in;
struct range;

/* What a client that has mapped a BAR meets. */
enum view_state {
	VIEW_NONE, /* there is no file */
	VIEW_OFF,  /* no pages: SIGBUS */
	VIEW_ONES, /* pages of ones, as of a device that does not answer; stores go nowhere */
	VIEW_OUT,  /* the registers */
};

#define NR_HOLES 2

struct view {
	int fd;                /* -1: nobody has asked for it in this session */
	bool sealed;           /* no client can change a page */
	enum view_state state; /* under config_lock */
	atomic_bool live;      /* VIEW_OUT: pages may be stored to */
	uint64_t size;
	uint64_t stays; /* bytes in front of the BARs that are there also while those are not */
	/* Our mapping of each BAR, whole where ones may have to be shown (view_len()). */
	uint8_t *pages[NR_BARS];
	void *holes[NR_HOLES]; /* and of a page where no BAR is, but a client may read */
};

struct poll_range {
	unsigned bar;
	uint64_t first, end; /* multiples of 4 */
	bool registers;      /* a written register shows what the model publishes again */
	bool zero;           /* ... or rather 0 (UVFIO_AREA_POLL_ZERO) */
	uint32_t *last;      /* what was last put there or found there; under lock */
};

#define POLL_LINE 64u /* bytes */
#define POLL_HOT  8u

struct poll_hot {
	struct poll_range *range; /* NULL: free */
	uint64_t off;
	uint64_t turn; /* of the last write that was found */
};

/* HELD: nothing is taken from the pages, and what is found news there stays so. */
enum poll_hold { POLL_GOES, POLL_HELD, POLL_ARRIVED };

struct poller {
	unsigned users; /* polled files, under config_lock */
	pthread_mutex_t lock;
	atomic_bool active;           /* changed under config_lock and lock */
	_Atomic(enum poll_hold) hold; /* while active; changed under config_lock */
	struct poll_range *ranges;
	unsigned nr_ranges;
	/* The poller's alone. */
	struct poll_hot hot[POLL_HOT];
	uint64_t turn;
	unsigned misses; /* turns in a row that found nothing in the hot lines */
};

/* view.c */
void view_init(struct vfio_device *dev);
/* The session is over: forget the file.  config_lock held. */
void view_fini(struct vfio_device *dev);
/* Bring the pages into @state; VIEW_OFF is VIEW_ONES where a client's touch cannot be told from the
 * outside to fail (files that do not trap).  config_lock held. */
void view_show(struct vfio_device *dev, enum view_state state);
/* Store into the shadow and into the page.  Any thread. */
void view_store(struct vfio_device *dev, unsigned bar, uint64_t off, unsigned size, uint64_t value);
/* Have the session's view in the file @fd (duplicated), which clients have already. */
int view_adopt(struct vfio_device *dev, int fd);
/* The same of a file that was the view in another process, which has stopped: what lies in memory
 * areas is what clients have put there, and stays. */
int view_continue(struct vfio_device *dev, int fd);
/* The MSI-X table changed. */
void view_publish_msix(struct vfio_device *dev);
void view_publish_vector(struct vfio_device *dev, unsigned vector);
void view_free(struct vfio_device *dev);

/* poll.c: the first two with config_lock held. */
void poll_start(struct vfio_device *dev);
void poll_stop(struct vfio_device *dev);
/* An operator has the device stand still (hold.h): clients' stores wait in their pages until
 * poll_start().  config_lock held; before the memory gate shuts. */
void poll_hold(struct vfio_device *dev);
/* What was last seen in the pages, of a poller that is held, and the same in the process that goes
 * on with them: it is held there until poll_arrived().  config_lock held.  -EINVAL: they are not
 * the ranges of this device, or it polls nothing; -ENOMEM. */
void poll_save(struct vfio_device *dev, struct mig_buf *out);
int poll_load(struct vfio_device *dev, struct mig_in *in);
void poll_arrived(struct vfio_device *dev);
/* Is it found there what clients store, while a polled file is open? */
bool poll_is_polled(const struct range *range);
/* What was stored before this call is found.  Not in the device's context. */
void poll_look(struct vfio_device *dev);
/* Bracket a change of a page by us, while the poller is active (else the first returns false). */
bool poll_lock(struct vfio_device *dev);
void poll_unlock(struct vfio_device *dev, unsigned bar, uint64_t off, unsigned size);
void poll_free(struct vfio_device *dev);

#endif
