/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections, their channels and what they have open.  See host.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/thread.h"
#include "base/trash.h"
#include "join/host_private.h"
#include "vfio/device_memory.h"

#define STACK_BYTES (256u << 10)
/* A runner's files that do not close: as many as that, or for as long, and it is cut off. */
#define TRASH_MAX 64u
#define TRASH_MS  1000u

/* ---- objects ---- */

static void destroy(enum object_kind kind, void *ptr)
{
	switch (kind) {
	case OBJECT_CONTAINER:
		vfio_container_release(ptr);
		break;
	case OBJECT_GROUP:
		vfio_group_release(ptr);
		break;
	case OBJECT_DEVICE:
	case OBJECT_RESOURCE:
		vfio_device_release(ptr);
		break;
	case OBJECT_IOMMUFD:
		vfio_iommufd_release(ptr);
		break;
	case OBJECT_EXPORT:
		vfio_export_put(ptr);
		break;
	case OBJECT_MIGRATION:
		vfio_migration_release(ptr);
		break;
	case OBJECT_SYSFS:
		host_sysfs_free(ptr);
		break;
	case OBJECT_NONE:
		break;
	}
}

int object_add(struct connection *connection, enum object_kind kind, void *ptr, unsigned group)
{
	int handle = -ENFILE;

	pthread_mutex_lock(&connection->lock);
	for (unsigned i = 0; i < JOIN_OBJECTS && handle < 0; i++) {
		if (connection->objects[i].kind != OBJECT_NONE)
			continue;
		connection->objects[i] = (struct object){.kind = kind, .ptr = ptr, .group = group};
		handle = (int)i + 1;
	}
	pthread_mutex_unlock(&connection->lock);
	return handle;
}

struct object *object_get(struct connection *connection, uint64_t handle, enum object_kind kind)
{
	struct object *object;

	if (!handle || handle > JOIN_OBJECTS)
		return NULL;
	object = &connection->objects[handle - 1];
	pthread_mutex_lock(&connection->lock);
	if (object->kind != kind || object->released)
		object = NULL;
	else
		object->users++;
	pthread_mutex_unlock(&connection->lock);
	return object;
}

/* The lock is held, and given back. */
static void end_use(struct connection *connection, struct object *object)
{
	struct object old = {.kind = OBJECT_NONE};

	if (!object->users && object->released) {
		old = *object;
		object->kind = OBJECT_NONE;
	}
	pthread_mutex_unlock(&connection->lock);
	destroy(old.kind, old.ptr);
}

void object_put(struct connection *connection, struct object *object)
{
	pthread_mutex_lock(&connection->lock);
	object->users--;
	end_use(connection, object);
}

int object_release(struct connection *connection, uint64_t handle)
{
	struct object *object;

	if (!handle || handle > JOIN_OBJECTS)
		return -EBADF;
	object = &connection->objects[handle - 1];
	pthread_mutex_lock(&connection->lock);
	if (object->kind == OBJECT_NONE || object->released) {
		pthread_mutex_unlock(&connection->lock);
		return -EBADF;
	}
	object->released = true;
	end_use(connection, object);
	return 0;
}

struct iommu_account *account_get(struct connection *connection, uint64_t id)
{
	struct iommu_account **place = NULL, *found = NULL;

	pthread_mutex_lock(&connection->lock);
	for (unsigned i = 0; i < JOIN_ACCOUNTS && !found; i++) {
		struct iommu_account **p = &connection->accounts[i];

		if (*p && iommu_account_id(*p) == id)
			found = *p;
		else if (!place && (!*p || iommu_account_unused(*p)))
			place = p;
	}
	if (!found && place) {
		iommu_account_unref(*place);
		found = *place = iommu_account_new(id);
	}
	if (found)
		iommu_account_ref(found);
	pthread_mutex_unlock(&connection->lock);
	return found;
}

bool has_group(struct connection *connection, int64_t number)
{
	bool found = false;

	pthread_mutex_lock(&connection->lock);
	for (unsigned i = 0; i < JOIN_OBJECTS && !found; i++) {
		const struct object *object = &connection->objects[i];

		found = object->kind == OBJECT_GROUP && !object->released &&
			object->group == number;
	}
	pthread_mutex_unlock(&connection->lock);
	return found;
}

/* Nobody uses any of them. */
static void release_all(struct connection *connection)
{
	static const enum object_kind order[] = {OBJECT_SYSFS,     OBJECT_MIGRATION, OBJECT_EXPORT,
						 OBJECT_RESOURCE,  OBJECT_DEVICE,    OBJECT_GROUP,
						 OBJECT_CONTAINER, OBJECT_IOMMUFD};

	for (unsigned k = 0; k < sizeof(order) / sizeof(*order); k++) {
		for (unsigned i = 0; i < JOIN_OBJECTS; i++) {
			struct object *object = &connection->objects[i];

			if (object->kind != order[k])
				continue;
			destroy(object->kind, object->ptr);
			object->kind = OBJECT_NONE;
		}
	}
}

/* ---- channels ---- */

/* host->lock held: their threads find the end. */
static void shut_down(struct connection *connection)
{
	struct channel *channel;

	connection->ending = true;
	TAILQ_FOREACH(channel, &connection->channels, next)
	{
		shutdown(channel->sock, SHUT_RDWR);
	}
}

static void connection_free(struct connection *connection)
{
	uvfio_trash_unref(connection->trash);
	pthread_mutex_destroy(&connection->lock);
	free(connection->snapshot);
	for (unsigned i = 0; i < JOIN_ACCOUNTS; i++)
		iommu_account_unref(connection->accounts[i]);
	free(connection);
}

static void channel_end(struct channel *channel)
{
	struct connection *connection = channel->connection;
	struct join_host *host = connection->host;
	bool last;

	pthread_mutex_lock(&host->lock);
	TAILQ_REMOVE(&connection->channels, channel, next);
	if (channel->first)
		shut_down(connection);
	last = --connection->nr_channels == 0;
	pthread_mutex_unlock(&host->lock);
	close(channel->sock);
	free(channel);
	if (last) {
		uvfio_defer_begin();
		release_all(connection);
		uvfio_defer_end();
		/* The next runner does not wait for its files. */
		uvfio_trash_wait(connection->trash, 0, UVFIO_TRASH_EVER);
	}
	/* The channel counts until then: nobody frees the host before. */
	pthread_mutex_lock(&host->lock);
	if (last) {
		TAILQ_REMOVE(&host->connections, connection, next);
		host->nr_connections--;
	}
	host->nr_channels--;
	pthread_cond_broadcast(&host->changed);
	pthread_mutex_unlock(&host->lock);
	if (last)
		connection_free(connection);
}

static void *channel_main(void *arg)
{
	struct channel *channel = arg;

	pthread_setname_np(pthread_self(), "uvfio-join");
	while (!join_receive(channel->sock, &channel->in)) {
		bool go_on = call_make(channel);

		join_packet_close(&channel->in);
		if (!go_on || !uvfio_trash_wait(channel->in.trash, TRASH_MAX, TRASH_MS))
			break;
	}
	channel_end(channel);
	return NULL;
}

static int start_thread(struct channel *channel)
{
	return -uvfio_thread_detached(STACK_BYTES, channel_main, channel);
}

int channel_start(struct connection *connection, int sock, bool first)
{
	struct join_host *host = connection->host;
	struct channel *channel = NULL;
	int ret = 0;

	if (!join_is_channel(sock))
		ret = -EINVAL;
	else if (!(channel = malloc(sizeof(*channel))))
		ret = -ENOMEM;
	if (ret) {
		close(sock);
		return ret;
	}
	channel->connection = connection;
	channel->first = first;
	channel->sock = sock;
	channel->in.head.fds = 0;
	channel->in.trash = connection->trash;
	pthread_mutex_lock(&host->lock);
	if (host->stopping || connection->ending)
		ret = -ESHUTDOWN;
	else if (connection->nr_channels >= JOIN_CHANNELS || host->nr_channels >= JOIN_ALL_CHANNELS)
		ret = -EUSERS;
	else
		ret = start_thread(channel); /* it ends no sooner than we let go of the lock */
	if (!ret) {
		TAILQ_INSERT_TAIL(&connection->channels, channel, next);
		connection->nr_channels++;
		host->nr_channels++;
	}
	pthread_mutex_unlock(&host->lock);
	if (ret) {
		close(sock);
		free(channel);
	}
	return ret;
}

/* ---- connections ---- */

int join_host_connect(struct join_host *host, int sock, uid_t uid, struct uvfio_error *err)
{
	struct connection *connection = calloc(1, sizeof(*connection));
	bool room;
	int ret;

	if (connection)
		connection->trash = uvfio_trash_new();
	if (!connection || !connection->trash) {
		free(connection);
		close(sock);
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	}
	connection->host = host;
	connection->who = (struct vfio_who){"vfio", (int64_t)uid};
	TAILQ_INIT(&connection->channels);
	pthread_mutex_init(&connection->lock, NULL);
	pthread_mutex_lock(&host->lock);
	room = host->nr_connections < JOIN_CONNECTIONS;
	if (room) {
		TAILQ_INSERT_TAIL(&host->connections, connection, next);
		host->nr_connections++;
	}
	pthread_mutex_unlock(&host->lock);
	if (!room) {
		close(sock);
		connection_free(connection);
		return uvfio_error_set(err, -EUSERS,
				       "%u programs have joined, which is all that may",
				       JOIN_CONNECTIONS);
	}
	ret = channel_start(connection, sock, true);
	if (!ret)
		return 0;
	pthread_mutex_lock(&host->lock);
	TAILQ_REMOVE(&host->connections, connection, next);
	host->nr_connections--;
	pthread_cond_broadcast(&host->changed);
	pthread_mutex_unlock(&host->lock);
	connection_free(connection);
	return uvfio_error_set(err, ret, "cannot serve the runner: %s", strerror(-ret));
}

struct join_host *join_host_new(struct vfio_machine *machine, struct uvfio_log *log)
{
	struct join_host *host = calloc(1, sizeof(*host));

	if (!host)
		return NULL;
	host->machine = machine;
	host->log = log;
	uvfio_eventfd_check_init(&host->eventfds);
	TAILQ_INIT(&host->connections);
	pthread_mutex_init(&host->lock, NULL);
	pthread_cond_init(&host->changed, NULL);
	return host;
}

void join_host_free(struct join_host *host)
{
	struct connection *connection;

	if (!host)
		return;
	pthread_mutex_lock(&host->lock);
	host->stopping = true;
	TAILQ_FOREACH(connection, &host->connections, next)
	{
		shut_down(connection);
	}
	while (host->nr_connections || host->nr_channels)
		pthread_cond_wait(&host->changed, &host->lock);
	pthread_mutex_unlock(&host->lock);
	pthread_cond_destroy(&host->changed);
	pthread_mutex_destroy(&host->lock);
	uvfio_eventfd_check_fini(&host->eventfds);
	free(host);
}
