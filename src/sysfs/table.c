/* SPDX-License-Identifier: BSD-3-Clause */
/* The tree: which directories there are, what is in them, and how nodes are numbered (table.h). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "sysfs/functions.h"
#include "sysfs/table.h"
#include "vfio/uio.h"

/* A number of a node: directory + 1, entry (0: the directory itself), object or further entry. */
#define INO_ROOT     1u
#define INO_DIR      56
#define INO_ENTRY    46
#define ENTRY_MASK   0x3ffull
#define ENTRY_OTHER  ENTRY_MASK
#define OBJECT_MASK  ((1ull << INO_ENTRY) - 1)

static bool nested(struct sysfs *fs, const struct sysfs_node *node)
{
	return fs->config.subdir != NULL;
}

static bool flat(struct sysfs *fs, const struct sysfs_node *node)
{
	return !fs->config.subdir;
}

#define DIRECTORY(name_, dir_)                                                                     \
	{                                                                                          \
		.name = name_, .type = SYSFS_DIR, .mode = 0755, .dir = dir_                        \
	}

static bool has_uio(struct sysfs *fs, const struct sysfs_node *node)
{
	return fs->uio;
}

static const struct sysfs_entry root_entries[] = {
	DIRECTORY("bus", DIR_BUS),
	DIRECTORY("kernel", DIR_KERNEL),
	DIRECTORY("module", DIR_MODULES),
	{.name = "devices", .type = SYSFS_DIR, .mode = 0755, .dir = DIR_DEVICES, .present = nested},
	{.name = "devices", .type = SYSFS_DIR, .mode = 0755, .dir = DIR_FUNCTIONS, .present = flat},
	{.name = "class", .type = SYSFS_DIR, .mode = 0755, .dir = DIR_CLASS, .present = has_uio},
	{.name = "uvfio", .type = SYSFS_DIR, .mode = 0755, .dir = DIR_NODES, .present = has_uio},
	{0},
};
static const struct sysfs_entry bus_dir_entries[] = {DIRECTORY("pci", DIR_PCI), {0}};
static const struct sysfs_entry kernel_entries[] = {DIRECTORY("iommu_groups", DIR_GROUPS), {0}};
static const struct sysfs_entry class_entries[] = {DIRECTORY("uio", DIR_CLASS_UIO), {0}};
static const struct sysfs_entry drivers_entries[] = {
	{.name = "vfio-pci",
	 .type = SYSFS_DIR,
	 .mode = 0755,
	 .dir = DIR_DRIVER,
	 .arg = DRIVER_VFIO},
	{.name = VFIO_UIO_DRIVER,
	 .type = SYSFS_DIR,
	 .mode = 0755,
	 .dir = DIR_DRIVER,
	 .arg = DRIVER_UIO,
	 .present = has_uio},
	{.name = VFIO_STUB_DRIVER,
	 .type = SYSFS_DIR,
	 .mode = 0755,
	 .dir = DIR_DRIVER,
	 .arg = DRIVER_STUB},
	{0},
};
#define MODULE(name_, arg_, present_)                                                              \
	{                                                                                          \
		.name = name_, .type = SYSFS_DIR, .mode = 0755, .dir = DIR_MODULE, .arg = arg_,    \
		.present = present_                                                                \
	}
static const struct sysfs_entry modules_entries[] = {
	MODULE("vfio", MODULE_VFIO, NULL),
	MODULE("vfio_iommu_type1", MODULE_VFIO_TYPE1, NULL),
	MODULE("vfio_pci", MODULE_VFIO_PCI, NULL),
	MODULE("uio", MODULE_UIO, has_uio),
	MODULE(VFIO_UIO_DRIVER, MODULE_UIO_PCI, has_uio),
	{0},
};
static const struct sysfs_entry none[] = {{0}};

const struct sysfs_entry sysfs_further = {.type = SYSFS_LINK, .mode = 0777};

#define FROM_FUNCTIONS 16 /* depths that count from that directory's */

static const struct {
	const struct sysfs_entry *entries;
	unsigned depth; /* below the root */
} dirs[NR_DIRS] = {
	[DIR_ROOT] = {root_entries, 0},
	[DIR_BUS] = {bus_dir_entries, 1},
	[DIR_PCI] = {bus_entries, 2},
	[DIR_PCI_DEVICES] = {none, 3},
	[DIR_DRIVERS] = {drivers_entries, 3},
	[DIR_DRIVER] = {driver_entries, 4},
	[DIR_SLOTS] = {none, 3},
	[DIR_SLOT] = {slot_entries, 4},
	[DIR_DEVICES] = {none, 1},
	[DIR_FUNCTIONS] = {none, FROM_FUNCTIONS},
	[DIR_FUNCTION] = {function_entries, FROM_FUNCTIONS + 1},
	[DIR_POWER] = {power_entries, FROM_FUNCTIONS + 2},
	[DIR_MSI_IRQS] = {none, FROM_FUNCTIONS + 2},
	[DIR_UIO] = {none, FROM_FUNCTIONS + 2},
	[DIR_UIO_N] = {uio_n_entries, FROM_FUNCTIONS + 3},
	[DIR_VFIO_DEV] = {vfio_dev_entries, FROM_FUNCTIONS + 2},
	[DIR_VFIO_DEV_N] = {vfio_dev_n_entries, FROM_FUNCTIONS + 3},
	[DIR_VFIO_DEV_POWER] = {power_entries, FROM_FUNCTIONS + 4},
	[DIR_UVFIO] = {uvfio_entries, FROM_FUNCTIONS + 2},
	[DIR_KERNEL] = {kernel_entries, 1},
	[DIR_GROUPS] = {none, 2},
	[DIR_GROUP] = {group_entries, 3},
	[DIR_GROUP_DEVICES] = {none, 4},
	[DIR_MODULES] = {modules_entries, 1},
	[DIR_MODULE] = {module_entries, 2},
	[DIR_PARAMETERS] = {parameter_entries, 3},
	[DIR_MODULE_DRIVERS] = {module_driver_entries, 3},
	[DIR_CLASS] = {class_entries, 1},
	[DIR_CLASS_UIO] = {none, 2},
	[DIR_NODES] = {none, 1},
};

static bool of_function(enum sysfs_dir dir)
{
	return dir >= DIR_FUNCTION && dir <= DIR_UVFIO;
}

ssize_t sysfs_link_to(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size,
		      const char *fmt, ...)
{
	unsigned depth = dirs[node->dir].depth;
	size_t len = 0;
	va_list ap;

	if (depth >= FROM_FUNCTIONS)
		depth += fs->depth - FROM_FUNCTIONS;
	for (; depth && len + 4 < size; depth--)
		len += (size_t)snprintf(out + len, size - len, "../");
	va_start(ap, fmt);
	len += (size_t)vsnprintf(out + len, size - len, fmt, ap);
	va_end(ap);
	return len < size ? (ssize_t)len : -ENAMETOOLONG;
}

/* ---- numbers ---- */

uint64_t sysfs_ino(const struct sysfs_node *node)
{
	uint64_t ino = (uint64_t)(node->dir + 1) << INO_DIR;

	if (node->dir == DIR_ROOT && !node->entry)
		return INO_ROOT;
	if (node->entry == &sysfs_further)
		return ino | ENTRY_OTHER << INO_ENTRY | node->which;
	if (node->entry)
		ino |= (uint64_t)(node->entry - dirs[node->dir].entries + 1) << INO_ENTRY;
	return ino | (node->object & OBJECT_MASK);
}

bool sysfs_is_uio(uint64_t ino)
{
	return ino >> INO_DIR == DIR_NODES + 1 && (ino >> INO_ENTRY & ENTRY_MASK) == ENTRY_OTHER;
}

static bool group_exists(struct sysfs *fs, uint64_t number)
{
	struct function *f = fs->functions;

	while (f && (f->group != number || !f->bus_knows))
		f = f->next;
	return f != NULL;
}

static bool slot_exists(struct sysfs *fs, uint64_t slot)
{
	struct function *f = fs->functions;

	while (f && (f->slot != slot || !f->bus_knows || f->pf))
		f = f->next;
	return f != NULL;
}

static bool object_exists(struct sysfs *fs, struct sysfs_node *node)
{
	node->f = NULL;
	if (of_function(node->dir)) {
		node->f = sysfs_function(fs, node->object);
		if (!node->f)
			return false;
	}
	switch (node->dir) {
	case DIR_SLOT:
		return slot_exists(fs, node->object);
	case DIR_GROUP:
	case DIR_GROUP_DEVICES:
		return group_exists(fs, node->object);
	case DIR_VFIO_DEV:
	case DIR_VFIO_DEV_N:
	case DIR_VFIO_DEV_POWER:
		return function_bound(fs, node->f);
	case DIR_UIO:
	case DIR_UIO_N:
		return function_uio(fs, node->f, NULL);
	case DIR_DRIVER:
		return sysfs_driver_exists(fs, node->object);
	case DIR_CLASS:
	case DIR_CLASS_UIO:
	case DIR_NODES:
		return fs->uio;
	case DIR_MSI_IRQS:
		return function_messages(fs, node->f, NULL) > 0;
	case DIR_MODULE:
	case DIR_PARAMETERS:
	case DIR_MODULE_DRIVERS:
		return node->object < (fs->uio ? NR_MODULES : MODULE_UIO);
	default:
		return true;
	}
}

/* Fill in and check a link, or a file of msi_irqs, that @node->which tells of. */
static bool further_exists(struct sysfs *fs, struct sysfs_node *node)
{
	if (node->dir == DIR_MSI_IRQS) {
		node->object = node->which >> MSI_SHIFT;
		return object_exists(fs, node) && (node->which & ((1u << MSI_SHIFT) - 1)) <
							  function_messages(fs, node->f, NULL);
	}
	if (node->dir == DIR_PCI_DEVICES && node->which >= OTHER_LINKS)
		return node->which - OTHER_LINKS < fs->config.nr_links;
	node->f = sysfs_function(fs, node->which);
	if (!node->f)
		return false;
	if (node->dir == DIR_FUNCTION) { /* virtfnN of its PF */
		node->object = node->f->pf;
		return sysfs_function(fs, node->object) != NULL;
	}
	if (node->dir == DIR_GROUP_DEVICES)
		node->object = node->f->group;
	if (node->dir == DIR_DRIVER) {
		node->object = function_driver(fs, node->f);
		return node->object != SYSFS_NO_DRIVER;
	}
	if (node->dir == DIR_CLASS_UIO || node->dir == DIR_NODES)
		return function_uio(fs, node->f, NULL);
	return node->dir == DIR_PCI_DEVICES || node->dir == DIR_GROUP_DEVICES;
}

unsigned sysfs_nr_entries(enum sysfs_dir dir)
{
	unsigned n = 0;

	while (dirs[dir].entries[n].name)
		n++;
	return n;
}

bool sysfs_find(struct sysfs *fs, uint64_t ino, struct sysfs_node *out)
{
	uint64_t dir = (ino >> INO_DIR) - 1, entry = ino >> INO_ENTRY & ENTRY_MASK;

	sysfs_sync(fs);
	*out = (struct sysfs_node){.dir = DIR_ROOT};
	if (ino == INO_ROOT)
		return true;
	if (dir >= NR_DIRS)
		return false;
	out->dir = (enum sysfs_dir)dir;
	if (entry == ENTRY_OTHER) {
		out->entry = &sysfs_further;
		out->which = ino & OBJECT_MASK;
		return further_exists(fs, out);
	}
	out->object = ino & OBJECT_MASK;
	if (!object_exists(fs, out) || entry > sysfs_nr_entries(out->dir))
		return false;
	if (entry) {
		out->entry = &dirs[dir].entries[entry - 1];
		if (out->entry->type == SYSFS_DIR ||
		    (out->entry->present && !out->entry->present(fs, out)))
			return false;
	}
	return true;
}

bool sysfs_static(struct sysfs *fs, const struct sysfs_node *dir, const struct sysfs_entry *e,
		  struct sysfs_node *out)
{
	*out = *dir;
	out->entry = e;
	if (e->present && !e->present(fs, out))
		return false;
	if (e->type != SYSFS_DIR)
		return true;
	*out = (struct sysfs_node){.dir = (enum sysfs_dir)e->dir, .object = dir->object};
	if (e->dir == DIR_MODULE || e->dir == DIR_DRIVER)
		out->object = e->arg;
	return object_exists(fs, out);
}

const struct sysfs_entry *sysfs_entries(enum sysfs_dir dir)
{
	return dirs[dir].entries;
}

/* ---- of a node ---- */

enum sysfs_type sysfs_type(const struct sysfs_node *node)
{
	if (!node->entry)
		return SYSFS_DIR;
	if (node->entry == &sysfs_further && node->dir == DIR_MSI_IRQS)
		return SYSFS_TEXT;
	if (node->entry == &sysfs_further && node->dir == DIR_NODES)
		return SYSFS_UIO;
	return node->entry->type;
}

mode_t sysfs_mode(const struct sysfs_node *node)
{
	if (!node->entry)
		return 0755;
	if (sysfs_type(node) == SYSFS_UIO)
		return 0600;
	return sysfs_type(node) == SYSFS_TEXT && node->entry == &sysfs_further ? 0444
									       : node->entry->mode;
}

uint64_t sysfs_size(struct sysfs *fs, const struct sysfs_node *node)
{
	enum sysfs_type type = sysfs_type(node);

	if (type == SYSFS_DIR || type == SYSFS_LINK || type == SYSFS_UIO)
		return 0;
	return node->entry->size ? node->entry->size(fs, node) : SYSFS_PAGE;
}

static ssize_t show_further(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	unsigned minor = 0;

	if (node->dir == DIR_MSI_IRQS)
		return snprintf(out, size, "%s\n", function_message_kind(fs, node->f));
	if (node->which >= OTHER_LINKS)
		return snprintf(out, size, "%s",
				fs->config.links[node->which - OTHER_LINKS].target);
	if (node->dir == DIR_CLASS_UIO) {
		function_uio(fs, node->f, &minor);
		return sysfs_link_to(fs, node, out, size, "%s/%s/uio/uio%u", fs->path,
				     node->f->name, minor);
	}
	if (node->dir == DIR_FUNCTION)
		return snprintf(out, size, "../%s", node->f->name);
	return sysfs_link_to(fs, node, out, size, "%s/%s", fs->path, node->f->name);
}

ssize_t sysfs_show(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	ssize_t n;

	if (!node->entry) /* a kernel does not ask for that, a client that has joined may */
		return -EISDIR;
	if (node->entry == &sysfs_further)
		n = show_further(fs, node, out, size);
	else
		n = node->entry->show ? node->entry->show(fs, node, out, size) : -EIO;
	return n > 0 && (size_t)n >= size ? (ssize_t)size - 1 : n;
}
