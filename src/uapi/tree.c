/* SPDX-License-Identifier: BSD-3-Clause */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "sysfs/snapshot.h"
#include "uapi/tree.h"
#include "vfio/host.h"
#include "vfio/uio.h"

#define MAX_DEVICES 16384u
#define MAX_DRIVERS 32u
#define MAX_BOUND   200u /* groups, where each is a mount */

struct tree {
	uint8_t *buf;
	size_t len, size;
	int failed; /* -errno */
	const struct uapi_core *core;
	const struct uapi_device **named;   /* core's devices by name, */
	const struct uapi_device **grouped; /* and by group, then as core has them */
};

static int compare_names(const void *a, const void *b)
{
	return strcmp((*(const struct uapi_device *const *)a)->name,
		      (*(const struct uapi_device *const *)b)->name);
}

static int compare_groups(const void *a, const void *b)
{
	const struct uapi_device *p = *(const struct uapi_device *const *)a;
	const struct uapi_device *q = *(const struct uapi_device *const *)b;

	if (p->group != q->group)
		return p->group < q->group ? -1 : 1;
	return p < q ? -1 : p > q;
}

static int tree_init(struct tree *tree, const struct uapi_core *core)
{
	tree->core = core;
	tree->named = calloc(core->nr_devices + 1, sizeof(struct uapi_device *));
	tree->grouped = calloc(core->nr_devices + 1, sizeof(struct uapi_device *));
	if (!tree->named || !tree->grouped)
		return -ENOMEM;
	for (unsigned i = 0; i < core->nr_devices; i++)
		tree->named[i] = tree->grouped[i] = &core->devices[i];
	qsort(tree->named, core->nr_devices, sizeof(struct uapi_device *), compare_names);
	qsort(tree->grouped, core->nr_devices, sizeof(struct uapi_device *), compare_groups);
	return 0;
}

static void tree_fini(struct tree *tree)
{
	free(tree->named);
	free(tree->grouped);
	free(tree->buf);
}

static void add(struct tree *tree, enum tree_kind kind, unsigned mode, const char *path,
		const void *data, size_t data_len)
{
	struct tree_record rec = {kind, mode, (uint32_t)strlen(path), (uint32_t)data_len};
	size_t need = TREE_RECORD_SIZE(rec.path_len, data_len);
	uint8_t *p;

	if (tree->failed)
		return;
	if (tree->len + need > tree->size) {
		size_t size = 2 * (tree->size + need);
		uint8_t *grown = realloc(tree->buf, size);

		if (!grown) {
			tree->failed = -ENOMEM;
			return;
		}
		tree->buf = grown;
		tree->size = size;
	}
	p = tree->buf + tree->len;
	memset(p, 0, need);
	memcpy(p, &rec, sizeof(rec));
	p += sizeof(rec);
	memcpy(p, path, rec.path_len);
	if (data_len)
		memcpy(p + rec.path_len + 1, data, data_len);
	tree->len += need;
}

static void add_dir(struct tree *tree, const char *base, const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", base, name);
	add(tree, TREE_DIR, 0755, path, NULL, 0);
}

static void __attribute__((format(printf, 5, 6)))
add_text(struct tree *tree, unsigned mode, const char *base, const char *name, const char *fmt, ...)
{
	char path[PATH_MAX], text[2048];
	va_list ap;
	int n;

	snprintf(path, sizeof(path), "%s/%s", base, name);
	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	add(tree, TREE_FILE, mode, path, text,
	    (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

static void __attribute__((format(printf, 4, 5)))
add_link(struct tree *tree, const char *base, const char *name, const char *fmt, ...)
{
	char path[PATH_MAX], target[PATH_MAX];
	va_list ap;

	snprintf(path, sizeof(path), "%s/%s", base, name);
	va_start(ap, fmt);
	vsnprintf(target, sizeof(target), fmt, ap);
	va_end(ap);
	add(tree, TREE_LINK, 0777, path, target, strlen(target));
}

/* Of ->grouped: is that the first of its group? */
static bool first_of_group(const struct tree *tree, unsigned i)
{
	return !i || tree->grouped[i - 1]->group != tree->grouped[i]->group;
}

/* The nodes in /dev/vfio. */
static void add_nodes(struct tree *tree, struct uapi_core *core)
{
	char node[UAPI_NODE_NAME];

	/* Before the directory beside it is a mount: what covers /dev takes along what there is. */
	add(tree, TREE_NODE, 0666, TREE_DEV_IOMMU, NULL, 0);
	add(tree, TREE_MOUNT, 0755, TREE_DEV_VFIO, NULL, 0);
	add_text(tree, 0666, TREE_DEV_VFIO, "vfio", "%s", "");
	for (unsigned i = 0; i < core->nr_devices; i++) {
		if (!first_of_group(tree, i))
			continue;
		uapi_group_node(tree->grouped[i], node);
		add_text(tree, 0666, TREE_DEV_VFIO, node, "%s", "");
	}
	add_dir(tree, TREE_DEV_VFIO, "devices");
	for (unsigned i = 0; i < core->nr_devices; i++) {
		if (uapi_cdev_node(&core->devices[i], node))
			add_text(tree, 0666, TREE_DEV_VFIO, node, "%s", "");
	}
}

/* Has this machine anything in the directory @path? */
static bool has_entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n > 2;
}

static bool shown_device(const struct tree *tree, const char *name, size_t len)
{
	struct uapi_device key;
	const struct uapi_device *k = &key;

	if (len >= sizeof(key.name))
		return false;
	memcpy(key.name, name, len);
	key.name[len] = '\0';
	return tree->core->nr_devices &&
	       bsearch(&k, tree->named, tree->core->nr_devices, sizeof(k), compare_names);
}

/* The directories whose entries are ours as a whole, among those of the machine. */
static const struct ours {
	const char *path; /* with its last "/" */
	size_t len;
	bool devices; /* those that the run has */
	bool alone;   /* when the machine has none itself */
} ours[] = {
#define OURS(path_, ...)                                                                           \
	{                                                                                          \
		.path = (path_), .len = sizeof(path_) - 1, __VA_ARGS__                             \
	}
	OURS("bus/pci/devices/", .devices = true),
	OURS("bus/pci/drivers/"),
	OURS("bus/pci/slots/", .alone = true),
	OURS("class/"),
	OURS("kernel/iommu_groups/"),
	OURS("module/"),
#undef OURS
};

#define NR_OURS (sizeof(ours) / sizeof(*ours))

/* What is outside of them is the machine's own. */
static void add_item(struct tree *tree, const struct sysfs_item *item, const bool taken[])
{
	static const enum tree_kind kinds[] = {
		[SYSFS_ITEM_DIR] = TREE_DIR,
		[SYSFS_ITEM_FILE] = TREE_FILE,
		[SYSFS_ITEM_LINK] = TREE_LINK,
	};
	char path[SYSFS_ITEM_PATH + 8];
	const char *name;
	bool whole;
	unsigned i = 0;

	while (i < NR_OURS && strncmp(item->path, ours[i].path, ours[i].len) != 0)
		i++;
	if (i == NR_OURS || taken[i])
		return;
	name = item->path + ours[i].len;
	if (ours[i].devices && !shown_device(tree, name, strcspn(name, "/")))
		return;
	whole = !strchr(name, '/');
	if (whole && item->kind != SYSFS_ITEM_DIR)
		return;
	snprintf(path, sizeof(path), "/sys/%s", item->path);
	add(tree, whole ? TREE_CLAIM : kinds[item->kind], item->mode, path, item->data, item->len);
}

/* Of /sys, what the machine looks like now. */
static void add_sys(struct tree *tree, struct uapi_core *core)
{
	bool taken[NR_OURS] = {false};
	struct sysfs_item item;
	uint8_t *data = NULL;
	size_t len = 0, off = 0;
	char path[64];
	int ret = core->ops->sysfs_snapshot(core, &data, &len);

	for (unsigned i = 0; i < NR_OURS; i++) {
		snprintf(path, sizeof(path), "/sys/%s", ours[i].path);
		taken[i] = ours[i].alone && has_entries(path);
	}
	while (!ret && (ret = sysfs_snapshot_next(data, len, &off, &item)) == 1) {
		add_item(tree, &item, taken);
		ret = 0;
	}
	free(data);
	if (ret && !tree->failed)
		tree->failed = ret;
}

static void describe(struct tree *tree, struct uapi_core *core)
{
	add_nodes(tree, core);
	add_sys(tree, core);
}

static void add_bind(struct tree *tree, bool dir, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void add_bind(struct tree *tree, bool dir, const char *fmt, ...)
{
	char path[PATH_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	add(tree, TREE_BIND, dir ? 0755 : 0644, path, NULL, 0);
}

/* Each uioN that there can be: a link to the file that is there while it is bound. */
static void add_uio(struct tree *tree, struct uapi_core *core)
{
	static const char from[] = "/sys/" TREE_DEV_UIO;
	char name[24];

	add_bind(tree, true, "/sys/bus/pci/drivers/%s", VFIO_UIO_DRIVER);
	add_bind(tree, true, "/sys/module/uio");
	add_bind(tree, true, "/sys/module/%s", VFIO_UIO_DRIVER);
	add_bind(tree, true, "/sys/class/uio");
	add(tree, TREE_BIND, 0755, "/dev/" TREE_DEV_UIO, from, strlen(from));
	for (unsigned i = 0; i < core->nr_devices; i++) {
		snprintf(name, sizeof(name), "uio%u", core->uio_first + i);
		add_link(tree, "/dev", name, TREE_DEV_UIO "/%s", name);
	}
}

/* The host's own drivers of the machine's devices, each once.  A name comes from a model, or from a
 * server: one that would be a path has no directory. */
static void add_own_drivers(struct tree *tree, const struct uapi_core *core)
{
	const char *bound[MAX_DRIVERS];
	unsigned nr = 0, j;

	for (unsigned i = 0; i < core->nr_devices && nr < MAX_DRIVERS; i++) {
		const char *name = core->devices[i].own_driver;

		if (!name[0] || name[0] == '.' || strchr(name, '/'))
			continue;
		for (j = 0; j < nr && strcmp(bound[j], name) != 0;)
			j++;
		if (j < nr)
			continue;
		bound[nr++] = name;
		add_bind(tree, true, "/sys/bus/pci/drivers/%s", name);
	}
}

static void describe_served(struct tree *tree, struct uapi_core *core)
{
	static const char *const whole[] = {
		("/sys/devices/" TREE_SUBDIR),
		"/sys/bus/pci/devices",
		"/sys/bus/pci/drivers/vfio-pci",
		"/sys/module/vfio",
		"/sys/module/vfio_pci",
		"/sys/module/vfio_iommu_type1",
		"/sys/bus/pci/drivers/" VFIO_STUB_DRIVER,
	};
	static const char *const files[] = {"drivers_probe", "drivers_autoprobe", "rescan"};
	static const char groups[] = "/sys/kernel/iommu_groups", slots[] = "/sys/bus/pci/slots";
	const bool own_groups = !has_entries(groups);
	unsigned bound = 0;

	add_nodes(tree, core);
	for (unsigned i = 0; i < sizeof(whole) / sizeof(*whole); i++)
		add_bind(tree, true, "%s", whole[i]);
	add_own_drivers(tree, core);
	for (unsigned i = 0; i < sizeof(files) / sizeof(*files); i++)
		add_bind(tree, false, "/sys/bus/pci/%s", files[i]);
	/* What the machine has itself is not to be hidden by this. */
	if (own_groups)
		add_bind(tree, true, "%s", groups);
	if (!has_entries(slots))
		add_bind(tree, true, "%s", slots);
	for (unsigned i = 0; i < core->nr_devices && !own_groups && bound < MAX_BOUND; i++) {
		if (!first_of_group(tree, i))
			continue;
		add_bind(tree, true, "%s/%u", groups, tree->grouped[i]->group);
		bound++;
	}
	if (core->policy->enable_uio)
		add_uio(tree, core);
}

/* A memfd with what @describe_it describes. */
static int make(struct uapi_core *core, void (*describe_it)(struct tree *, struct uapi_core *),
		struct uvfio_error *err)
{
	struct tree tree = {0};
	int fd;

	if (core->nr_devices > MAX_DEVICES)
		return uvfio_error_set(err, -E2BIG,
				       "%u devices; at most %u can be shown to a program",
				       core->nr_devices, MAX_DEVICES);
	tree.failed = tree_init(&tree, core);
	if (!tree.failed)
		describe_it(&tree, core);
	if (tree.failed) {
		tree_fini(&tree);
		return uvfio_error_set(err, tree.failed, "cannot describe the program's /sys: %s",
				       strerror(-tree.failed));
	}
	fd = memfd_create("uvfio-tree", MFD_CLOEXEC);
	if (fd >= 0 && write(fd, tree.buf, tree.len) != (ssize_t)tree.len) {
		close(fd);
		fd = -1;
		errno = ENOSPC;
	}
	tree_fini(&tree);
	return fd >= 0 ? fd
		       : uvfio_error_set(err, -errno, "cannot make a memfd: %s", strerror(errno));
}

int uapi_tree_make(struct uapi_core *core, struct uvfio_error *err)
{
	return make(core, describe, err);
}

int uapi_tree_make_served(struct uapi_core *core, struct uvfio_error *err)
{
	return make(core, describe_served, err);
}
