/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Shared by host.c (connections, channels, objects), host_call.c (calls), host_client.c
 * (questions), host_sysfs.c and host_migration.c.
 *
 * Locks: host->lock for the lists and counts, connection->lock for its objects; both are leaves,
 * and not held across anything that waits.  A packet belongs to its channel's thread.
 */
#ifndef UVFIO_JOIN_HOST_PRIVATE_H
#define UVFIO_JOIN_HOST_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>
#include "base/eventfd.h"
#include "iommu/account.h"
#include "join/channel.h"
#include "join/host.h"
#include "sysfs/sysfs.h"
#include "vfio/observe.h"

enum object_kind {
	OBJECT_NONE,
	OBJECT_CONTAINER,
	OBJECT_GROUP,
	OBJECT_DEVICE,
	OBJECT_RESOURCE, /* a device file that can be mapped, and no more */
	OBJECT_IOMMUFD,
	OBJECT_EXPORT,
	OBJECT_MIGRATION, /* a session of migration data */
	OBJECT_SYSFS
};

struct object {
	enum object_kind kind;
	unsigned users; /* calls that use it */
	bool released;  /* by the runner; the last user does it */
	unsigned group; /* number, of a group */
	void *ptr;
};

struct channel {
	TAILQ_ENTRY(channel) next; /* of the connection: host->lock */
	struct connection *connection;
	bool first;
	int sock;
	struct join_packet in;
	uint8_t out[JOIN_DATA];
};

struct connection {
	TAILQ_ENTRY(connection) next; /* host->lock */
	struct join_host *host;
	TAILQ_HEAD(, channel) channels; /* host->lock, as the next two */
	unsigned nr_channels;
	bool ending;
	atomic_bool has_sysfs; /* it had a tree, or has */
	struct vfio_who who;
	struct uvfio_trash *trash; /* where its files are closed */
	pthread_mutex_t lock;      /* what follows */
	uint8_t *snapshot;         /* that it is about to fetch, or NULL */
	size_t snapshot_len;
	struct iommu_account *accounts[JOIN_ACCOUNTS]; /* of its processes, by id; NULL: free */
	struct object objects[JOIN_OBJECTS];
};

struct join_host {
	struct vfio_machine *machine;
	struct uvfio_log *log;
	struct uvfio_eventfd_check eventfds;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	TAILQ_HEAD(, connection) connections;
	unsigned nr_connections, nr_channels;
	bool stopping;
};

/* host.c */

/* Serve @sock, which is taken, as another channel.  0, -EINVAL, -EUSERS, -ENOMEM, -EAGAIN. */
int channel_start(struct connection *connection, int sock, bool first);
/* A handle for @ptr; -ENFILE at the limit. */
int object_add(struct connection *connection, enum object_kind kind, void *ptr, unsigned group);
/* What @handle stands for, in use until it is put; NULL when it is nothing of @kind. */
struct object *object_get(struct connection *connection, uint64_t handle, enum object_kind kind);
void object_put(struct connection *connection, struct object *object);
/* -EBADF when it is no handle. */
int object_release(struct connection *connection, uint64_t handle);
/* The account @id of one of the runner's processes, with a reference; NULL: it has too many. */
struct iommu_account *account_get(struct connection *connection, uint64_t id);
/* Has the connection this group open? */
bool has_group(struct connection *connection, int64_t number);

/* host_call.c: make the call in channel->in and answer it.  False: the channel is at its end. */
bool call_make(struct channel *channel);

/* host_sysfs.c */
struct host_sysfs;
/* Serve a tree on @sock, and tell @notify (-1: nobody) of changes; both are taken.  0 or -errno. */
int host_sysfs_new(struct connection *connection, int sock, int notify, gid_t gid,
		   const uint8_t *links, size_t len, struct host_sysfs **out);
void host_sysfs_free(struct host_sysfs *s);
/* As sysfs_identify(). */
enum sysfs_file host_sysfs_identify(struct host_sysfs *s, uint64_t ino, char device[16],
				    unsigned *bar);
/* At most JOIN_DATA bytes of a snapshot of the tree, as JOIN_SNAPSHOT has it: how long it is, or
 * -errno.  One at a time for a connection, until its end was fetched. */
int64_t host_snapshot(struct connection *connection, uint64_t offset, uint8_t *out, size_t *len);

/* host_client.c */

struct host_client {
	struct vfio_client client; /* first */
	struct channel *channel;
	struct object *held; /* what the core was given for the rest of the call */
	uint64_t account;    /* of the process, as the last answer about its limit said; 0: none */
	bool broken;         /* nothing is to be had from the runner any more */
};
void host_client_init(struct host_client *c, struct channel *channel, uint64_t pid);
/* The same for one that is given files of migration data. */
void host_client_init_migrating(struct host_client *c, struct channel *channel, uint64_t pid);
/* Send a question without data; its answer is in the channel.  0 or -EFAULT. */
int host_ask(struct host_client *c, const struct join_head *question);

/* host_migration.c */

/* Of struct vfio_client_ops. */
int host_give_migration(struct vfio_client *client, struct vfio_migration_file *file, int32_t *fd);
/* The call @head, one of JOIN_MIG_…, on @file: its value.  *@len: bytes of channel->out. */
int64_t host_migration(struct channel *channel, const struct join_head *head,
		       struct vfio_migration_file *file, size_t *len);

#endif
