/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See snapshot.h.  A snapshot has a tree of its own for the time that it takes, so that it shows
 * functions as they are when the bus finds them, and holds up nobody who uses another.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "sysfs/functions.h"
#include "sysfs/snapshot.h"

/* path_len bytes of path and data_len of data follow, each with a 0 behind it. */
struct record {
	uint16_t kind, mode;
	uint16_t path_len, data_len;
};

struct snapshot {
	struct sysfs fs;
	uint8_t *buf;
	size_t len, size;
	bool failed;
};

static void add(struct snapshot *s, enum sysfs_item_kind kind, mode_t mode, const char *path,
		const void *data, size_t data_len)
{
	const struct record rec = {(uint16_t)kind, (uint16_t)mode, (uint16_t)strlen(path),
				   (uint16_t)data_len};
	size_t need = sizeof(rec) + rec.path_len + data_len + 2;

	if (s->failed)
		return;
	if (need > s->size - s->len) {
		size_t size = 2 * (s->size + need);
		uint8_t *grown = realloc(s->buf, size);

		if (!grown) {
			s->failed = true;
			return;
		}
		s->buf = grown;
		s->size = size;
	}
	memcpy(s->buf + s->len, &rec, sizeof(rec));
	s->len += sizeof(rec);
	memcpy(s->buf + s->len, path, rec.path_len + 1u);
	s->len += rec.path_len + 1u;
	if (data_len)
		memcpy(s->buf + s->len, data, data_len);
	s->buf[s->len + data_len] = 0;
	s->len += data_len + 1;
}

static void add_config(struct snapshot *s, const struct sysfs_node *node, const char *path)
{
	struct vfio_device *dev = function_device(&s->fs, node->f);
	uint8_t config[PCI_EXT_CONFIG_SIZE];

	if (!dev)
		return;
	memset(config, 0xff, sizeof(config));
	vfio_device_hw_config(dev, config, true);
	vfio_device_put(dev);
	add(s, SYSFS_ITEM_FILE, sysfs_mode(node), path, config, node->f->config_size);
}

static void add_file(struct snapshot *s, const struct sysfs_node *node, const char *path)
{
	enum sysfs_type type = sysfs_type(node);
	mode_t mode = sysfs_mode(node);
	char text[SYSFS_PAGE];
	ssize_t n;

	if (type == SYSFS_BINARY && !strcmp(node->entry->name, "config"))
		add_config(s, node, path);
	if ((type != SYSFS_TEXT && type != SYSFS_LINK) || !(mode & 0444) || node->entry->live)
		return;
	n = sysfs_show(&s->fs, node, text, sizeof(text));
	if (n < 0)
		return;
	if (type == SYSFS_LINK)
		add(s, SYSFS_ITEM_LINK, mode, path, text, (size_t)n);
	else
		add(s, SYSFS_ITEM_FILE, mode & 0444, path, text, (size_t)n);
}

/* What is in the directory @dir, which is at @path. */
static void walk(struct snapshot *s, const struct sysfs_node *dir, const char *path)
{
	char name[256], below[SYSFS_ITEM_PATH];
	struct sysfs_node node;
	uint64_t cookie = 0;

	while (sysfs_next(&s->fs, dir, &cookie, &node, name)) {
		/* They are where the bus has its links; what programs open in DIR_NODES is served.
		 */
		if (node.dir == DIR_NODES || (dir->dir == DIR_ROOT && node.dir == DIR_FUNCTIONS))
			continue;
		if (snprintf(below, sizeof(below), "%s%s%s", path, *path ? "/" : "", name) >=
		    (int)sizeof(below))
			continue;
		if (sysfs_type(&node) != SYSFS_DIR) {
			add_file(s, &node, below);
			continue;
		}
		if (node.dir == DIR_PCI_DEVICES)
			node.dir = DIR_FUNCTIONS;
		add(s, SYSFS_ITEM_DIR, sysfs_mode(&node), below, NULL, 0);
		walk(s, &node, below);
	}
}

int sysfs_snapshot(struct vfio_machine *machine, uint8_t **out, size_t *len)
{
	const struct sysfs_node root = {.dir = DIR_ROOT};
	struct snapshot *s = calloc(1, sizeof(*s));
	int ret = 0;

	if (!s)
		return -ENOMEM;
	s->fs.config.machine = machine;
	s->fs.depth = 3;
	strcpy(s->fs.path, "bus/pci/devices");
	s->fs.uio = vfio_machine_policy(machine)->enable_uio;
	s->fs.autoprobe = true;
	sysfs_sync(&s->fs);
	walk(s, &root, "");
	sysfs_functions_free(&s->fs);
	if (s->failed) {
		free(s->buf);
		ret = -ENOMEM;
	} else {
		*out = s->buf;
		*len = s->len;
	}
	free(s);
	return ret;
}

/* Names with "/" between them, none of which leads up or nowhere. */
static bool path_ok(const char *path, size_t len)
{
	if (!len || len >= SYSFS_ITEM_PATH || strlen(path) != len)
		return false;
	for (;;) {
		size_t name = strcspn(path, "/");

		if (!name || (name <= 2 && !strncmp(path, "..", name)))
			return false;
		if (!path[name])
			return true;
		path += name + 1;
	}
}

int sysfs_snapshot_next(const uint8_t *data, size_t len, size_t *off, struct sysfs_item *out)
{
	size_t left = len - *off;
	struct record rec;
	const char *path;

	if (!left)
		return 0;
	if (left < sizeof(rec))
		return -EPROTO;
	memcpy(&rec, data + *off, sizeof(rec));
	if (left < sizeof(rec) + rec.path_len + rec.data_len + 2)
		return -EPROTO;
	path = (const char *)data + *off + sizeof(rec);
	*out = (struct sysfs_item){
		.kind = (enum sysfs_item_kind)rec.kind,
		.mode = rec.mode,
		.path = path,
		.data = path + rec.path_len + 1,
		.len = rec.data_len,
	};
	if (rec.kind > SYSFS_ITEM_LINK || rec.mode & ~0777u || rec.data_len > SYSFS_ITEM_DATA ||
	    path[rec.path_len] || out->data[rec.data_len] || !path_ok(path, rec.path_len))
		return -EPROTO;
	*off += sizeof(rec) + rec.path_len + rec.data_len + 2;
	return 1;
}
