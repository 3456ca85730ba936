/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The nodes of the program's /dev/vfio: files in its namespace by which a path is known to mean the
 * container, a group or a device.
 *
 * Those of the beginning are made with the program's mounts (tree.h) and stay.  Devices that come
 * later, VFs, get theirs when somebody looks: who has changed the machine by this run's /sys, and a
 * program that opens a name that is not there.  Where the program has no mounts of its own
 * (shadow.h), its names are those of the beginning.
 *
 * The directory is the program's user's, who may put there what he likes: a name leads to no other
 * place, and what is found under it stands only for what the name says.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "uapi/files_private.h"

#define NODE_BUCKETS 1024u
#define MAX_LOOKED   16384u /* devices */
#define AT_ONCE      128u

struct node {
	struct node *next, *next_inode;
	enum uapi_file_kind kind;
	unsigned group; /* or the device's number */
	char name[UAPI_NODE_NAME];
	dev_t dev;
	ino_t ino;
	bool later, seen; /* not of the beginning; by the look under way */
};

struct uapi_nodes {
	pthread_mutex_t looking;            /* over a look */
	pthread_mutex_t lock;               /* what follows; a leaf */
	dev_t dev, iommu_dev;               /* of the nodes, and of /dev/iommu */
	struct node *buckets[NODE_BUCKETS]; /* by kind and number */
	struct node *inodes[NODE_BUCKETS];
};

static struct node **bucket_of(struct uapi_nodes *nodes, enum uapi_file_kind kind, unsigned number)
{
	return &nodes->buckets[(number * 2654435761u + (unsigned)kind) % NODE_BUCKETS];
}

static struct node **inode_bucket(struct uapi_nodes *nodes, ino_t ino)
{
	return &nodes->inodes[ino % NODE_BUCKETS];
}

/* nodes->lock held. */
static struct node *find(struct uapi_nodes *nodes, enum uapi_file_kind kind, unsigned number)
{
	struct node *node = *bucket_of(nodes, kind, number);

	while (node && (node->kind != kind || node->group != number))
		node = node->next;
	return node;
}

/* The file @name: a directory above it may be anything by now. */
static int stat_node(int dir, const char *name, bool make, struct stat *st)
{
	struct open_how how = {
		.flags = O_CLOEXEC | O_NOFOLLOW | (make ? O_CREAT | O_RDWR | O_NONBLOCK : O_PATH),
		.mode = make ? 0666 : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};
	int fd = (int)syscall(SYS_openat2, dir, name, &how, sizeof(how)), ret = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, st) || (make && st->st_uid == geteuid() && fchmod(fd, 0666)))
		ret = -errno;
	else if (!S_ISREG(st->st_mode))
		ret = -EEXIST;
	close(fd);
	return ret;
}

/* A node that there is already is only marked as seen. */
static int add(struct uapi_files *files, const char *name, enum uapi_file_kind kind,
	       unsigned number, bool later, bool *new)
{
	struct uapi_nodes *nodes = files->nodes;
	struct node *node;
	struct stat st;
	int ret = 0;

	pthread_mutex_lock(&nodes->lock);
	node = find(nodes, kind, number);
	if (node)
		node->seen = true;
	pthread_mutex_unlock(&nodes->lock);
	if (node)
		return 0;
	if (kind == UAPI_IOMMUFD) /* beside the directory, on whatever /dev is */
		ret = fstatat(files->server->nodes, name, &st, AT_SYMLINK_NOFOLLOW) ? -errno : 0;
	else
		ret = stat_node(files->server->nodes, name, later, &st);
	node = ret ? NULL : malloc(sizeof(*node));
	if (!node)
		return ret ? ret : -ENOMEM;
	*node = (struct node){.kind = kind,
			      .group = number,
			      .dev = st.st_dev,
			      .ino = st.st_ino,
			      .later = later,
			      .seen = true};
	snprintf(node->name, sizeof(node->name), "%s", name);
	*new = true;
	pthread_mutex_lock(&nodes->lock);
	if (kind == UAPI_IOMMUFD)
		nodes->iommu_dev = st.st_dev;
	else
		nodes->dev = st.st_dev;
	node->next = *bucket_of(nodes, kind, number);
	*bucket_of(nodes, kind, number) = node;
	node->next_inode = *inode_bucket(nodes, st.st_ino);
	*inode_bucket(nodes, st.st_ino) = node;
	pthread_mutex_unlock(&nodes->lock);
	return 0;
}

static int add_device(struct uapi_files *files, const struct uapi_device *dev, bool later,
		      bool *new)
{
	char name[UAPI_NODE_NAME];
	int ret;

	uapi_group_node(dev, name);
	ret = add(files, name, UAPI_GROUP, dev->group, later, new);
	if (!ret && uapi_cdev_node(dev, name))
		ret = add(files, name, UAPI_CDEV, dev->cdev, later, new);
	return ret;
}

int uapi_nodes_init(struct uapi_files *files)
{
	const struct uapi_core *core = files->server->core;
	bool new;
	int ret;

	files->nodes = calloc(1, sizeof(*files->nodes));
	if (!files->nodes)
		return -ENOMEM;
	pthread_mutex_init(&files->nodes->looking, NULL);
	pthread_mutex_init(&files->nodes->lock, NULL);
	ret = add(files, "vfio", UAPI_CONTAINER, 0, false, &new);
	for (unsigned i = 0; i < core->nr_devices && !ret; i++)
		ret = add_device(files, &core->devices[i], false, &new);
	return ret ? ret : add(files, "../iommu", UAPI_IOMMUFD, 0, false, &new);
}

void uapi_nodes_free(struct uapi_files *files)
{
	struct uapi_nodes *nodes = files->nodes;

	for (unsigned i = 0; nodes && i < NODE_BUCKETS; i++) {
		for (struct node *node = nodes->buckets[i], *next; node; node = next) {
			next = node->next;
			free(node);
		}
	}
	if (nodes) {
		pthread_mutex_destroy(&nodes->looking);
		pthread_mutex_destroy(&nodes->lock);
	}
	free(nodes);
	files->nodes = NULL;
}

enum uapi_file_kind uapi_nodes_find(struct uapi_files *files, const struct stat *st,
				    unsigned *group, bool *ours)
{
	struct uapi_nodes *nodes = files->nodes;
	enum uapi_file_kind kind = UAPI_FILE_KINDS;
	const struct node *node;

	pthread_mutex_lock(&nodes->lock);
	*ours = st->st_dev == nodes->dev || st->st_dev == nodes->iommu_dev;
	node = *ours ? *inode_bucket(nodes, st->st_ino) : NULL;
	while (node && (node->ino != st->st_ino || node->dev != st->st_dev))
		node = node->next_inode;
	if (node) {
		kind = node->kind;
		*group = node->group;
	}
	pthread_mutex_unlock(&nodes->lock);
	return kind;
}

void uapi_files_group_name(struct uapi_files *files, unsigned number, char out[UAPI_NODE_NAME])
{
	const struct node *node;

	pthread_mutex_lock(&files->nodes->lock);
	node = find(files->nodes, UAPI_GROUP, number);
	if (node)
		memcpy(out, node->name, UAPI_NODE_NAME);
	else
		snprintf(out, UAPI_NODE_NAME, "%u", number);
	pthread_mutex_unlock(&files->nodes->lock);
}

/* ---- a look ---- */

static void remove_file(int dir, const char *name)
{
	const struct open_how how = {.flags = O_CLOEXEC | O_PATH | O_DIRECTORY,
				     .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
	const char *slash = strchr(name, '/');
	char above[UAPI_NODE_NAME];
	int fd;

	if (!slash) {
		unlinkat(dir, name, 0);
		return;
	}
	snprintf(above, sizeof(above), "%.*s", (int)(slash - name), name);
	fd = (int)syscall(SYS_openat2, dir, above, &how, sizeof(how));
	if (fd < 0)
		return;
	unlinkat(fd, slash + 1, 0);
	close(fd);
}

/* nodes->lock held. */
static void forget_inode(struct uapi_nodes *nodes, const struct node *node)
{
	struct node **link = inode_bucket(nodes, node->ino);

	while (*link != node)
		link = &(*link)->next_inode;
	*link = node->next_inode;
}

/* What came later and was not seen. */
static void sweep(struct uapi_files *files)
{
	struct uapi_nodes *nodes = files->nodes;

	for (unsigned i = 0; i < NODE_BUCKETS; i++) {
		struct node **link = &nodes->buckets[i], *node, *gone = NULL;

		pthread_mutex_lock(&nodes->lock);
		while ((node = *link)) {
			if (node->seen || !node->later) {
				node->seen = false;
				link = &node->next;
				continue;
			}
			*link = node->next;
			forget_inode(nodes, node);
			node->next = gone;
			gone = node;
		}
		pthread_mutex_unlock(&nodes->lock);
		while ((node = gone)) {
			gone = node->next;
			remove_file(files->server->nodes, node->name);
			free(node);
		}
	}
}

bool uapi_files_look(struct uapi_files *files)
{
	struct uapi_core *core = files->server->core;
	struct uapi_device *devs = calloc(AT_ONCE, sizeof(*devs));
	unsigned from = 0, stamp, first = 0;
	bool new = false, whole = true;
	int n = -ENOMEM;

	if (files->server->shadow || !devs) {
		free(devs);
		return false;
	}
	pthread_mutex_lock(&files->nodes->looking);
	while (from < MAX_LOOKED && (n = core->ops->list(core, from, devs, AT_ONCE, &stamp)) > 0) {
		first = from ? first : stamp;
		whole &= first == stamp;
		for (int i = 0; i < n; i++)
			add_device(files, &devs[i], true, &new);
		from += (unsigned)n;
	}
	if (!n && whole && first == stamp) /* all were seen, of one moment */
		sweep(files);
	pthread_mutex_unlock(&files->nodes->looking);
	free(devs);
	return new;
}
