/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Shared by guest.c (channels, beginning and end), guest_call.c, guest_machine.c and
 * guest_migration.c (calls) and guest_answer.c (answers).
 */
#ifndef UVFIO_JOIN_GUEST_PRIVATE_H
#define UVFIO_JOIN_GUEST_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>
#include "join/channel.h"
#include "join/guest.h"

/* A channel as its user has it. */
struct line {
	struct line *next; /* idle: guest->lock */
	int sock;
	struct join_packet in;
};

/* What core_container, core_group and core_device are. */
struct handle {
	LIST_ENTRY(handle) next; /* those with a view: guest->lock */
	uint32_t id;
	int view;     /* -1 */
	bool saves;   /* a session of migration data that is read */
	int late;     /* of such a session: the next call's answer, -errno; one at a time has it */
	bool pending; /* not taken yet: it is the server's who releases it */
};

struct guest {
	struct uapi_core core; /* first */
	struct uvfio_log *log;
	const char *name;
	struct join_hello hello;
	struct uapi_device *devices; /* of the beginning */
	unsigned nr_devices;
	int first;                  /* the socket of the first channel */
	pthread_mutex_t first_lock; /* over a call on it */
	struct line *first_line;    /* first_lock */
	pthread_mutex_t lock;       /* what follows */
	pthread_cond_t freed;
	struct line *idle;
	unsigned nr_lines, nr_idle;
	LIST_HEAD(, handle) views;
	atomic_uint sysfs;        /* the handle of the tree in /sys; 0: there is none */
	atomic_bool gone, ending; /* the server; we */
	pthread_t watcher;
};

/* guest.c */

/* A channel for one call; NULL: the server has gone, or there is no memory. */
struct line *line_take(struct guest *guest);
/* @broken: it is of no use any more. */
void line_put(struct guest *guest, struct line *line, bool broken);

/* guest_call.c */

/* Send @head with data and fds, answer what is asked for @client (may be NULL), and wait for the
 * result, which is in line->in.  0, or -EIO: the channel is broken. */
int line_call(struct line *line, struct vfio_client *client, const struct join_head *head,
	      const void *data, size_t len, const int *fds, unsigned nr);
/* A call of which the result is wanted, and nothing else.  @out: the head of the answer, may be
 * NULL. */
int64_t guest_simple(struct uapi_core *core, struct vfio_client *client,
		     const struct join_head *head, const void *data, size_t len,
		     struct join_head *out);
/* What an ioctl or the like gives. */
int guest_result(int64_t value);
/* A handle for @id, which is -errno or nonsense if it is not above 0. */
int guest_handle_new(int64_t id, struct handle **out);
void guest_release_id(struct uapi_core *core, uint32_t id);
/* Answer the question in line->in for @client.  -errno: the channel is broken. */
int guest_answer(struct line *line, struct vfio_client *client);
extern const struct uapi_core_ops join_guest_ops;

/* Release what a handle stands for, and it. */
void guest_release(struct uapi_core *core, void *handle);

/* guest_migration.c: see struct uapi_core_ops */
void guest_migration_release(struct uapi_core *core, struct core_migration *migration);
bool guest_migration_saves(struct uapi_core *core, const struct core_migration *migration);
ssize_t guest_migration_read(struct uapi_core *core, struct core_migration *migration, void *buf,
			     size_t len);
ssize_t guest_migration_write(struct uapi_core *core, struct core_migration *migration,
			      const void *buf, size_t len);
bool guest_migration_readable(struct uapi_core *core, struct core_migration *migration);
int guest_migration_ioctl(struct uapi_core *core, struct core_migration *migration,
			  struct vfio_client *client, unsigned cmd, uint64_t arg);
/* Answer JOIN_ASK_MIGRATION. */
int guest_answer_migration(struct line *line, struct vfio_client *client);

/* guest_machine.c */

/* Give @handle its view @fd, which it takes on success.  0, -EIO (it is no view), -EACCES. */
int guest_take_view(struct guest *guest, struct handle *handle, int fd);
/* See struct uapi_core_ops. */
int guest_resource_open(struct uapi_core *core, const struct uapi_device *dev,
			enum vfio_mmio_mode mode, struct core_device **out, int *view);
int guest_uio_ioctl(struct uapi_core *core, const struct uapi_device *dev,
		    struct vfio_client *client, unsigned cmd, uint64_t arg);
enum sysfs_file guest_sysfs_identify(struct uapi_core *core, uint64_t ino,
				     const struct uapi_device **device, unsigned *bar);
int guest_sysfs_serve(struct uapi_core *core, int sock, int notify, const struct sysfs_link *links,
		      unsigned nr);
int guest_snapshot(struct uapi_core *core, uint8_t **out, size_t *len);
/* The first by a channel, -EPIPE: which is broken. */
int guest_list_on(struct line *line, unsigned from, struct uapi_device *out, unsigned max,
		  unsigned *stamp);
int guest_list(struct uapi_core *core, unsigned from, struct uapi_device *out, unsigned max,
	       unsigned *stamp);
int guest_describe(struct uapi_core *core, const char *name, struct uapi_device *out);
/* A device that the server tells of, which does not have to make sense: 0, -EIO. */
int guest_take_device(const struct join_packet *in, unsigned index, struct uapi_device *out);
bool guest_hw_config(struct uapi_core *core, const struct uapi_device *dev, uint8_t *bytes,
		     bool wait);

/* The end of the core. */
void guest_free(struct uapi_core *core);

#endif
