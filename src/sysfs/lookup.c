/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is in a directory, in order and by name.
 *
 * A machine may have thousands of functions, so a name is not searched for among all entries: it is
 * taken apart, and what it names is looked up.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "sysfs/functions.h"
#include "vfio/sriov.h"

#define FIRST_COOKIE 4096u /* of further entries */

/* Is there an entry for @f in @dir? */
static bool has_entry(struct sysfs *fs, const struct sysfs_node *dir, const struct function *f)
{
	if (!f->bus_knows || f->removed)
		return false;
	switch (dir->dir) {
	case DIR_FUNCTION:
		return f->pf == dir->object;
	case DIR_GROUP_DEVICES:
		return f->group == dir->object;
	case DIR_DRIVER:
		return function_driver(fs, f) == dir->object;
	case DIR_CLASS_UIO:
	case DIR_NODES:
		return function_uio(fs, f, NULL);
	default:
		return true;
	}
}

/* The first function behind @last for which there is an entry in @dir. */
static struct function *next_function(struct sysfs *fs, const struct sysfs_node *dir, uint64_t last)
{
	struct function *f = sysfs_function_after(fs, last);

	while (f && !has_entry(fs, dir, f))
		f = f->next;
	return f;
}

/* The smallest group or slot number that is at least @from. */
static bool next_number(struct sysfs *fs, bool slot, uint64_t from, uint64_t *out)
{
	bool found = false;

	for (const struct function *f = fs->functions; f; f = f->next) {
		uint64_t n = slot ? f->slot : f->group;

		if (!f->bus_knows || (slot && f->pf) || n < from || (found && n >= *out))
			continue;
		*out = n;
		found = true;
	}
	return found;
}

/* The node of @f in @dir, which has an entry for it. */
static void function_node(const struct sysfs_node *dir, struct function *f, struct sysfs_node *out)
{
	*out = (struct sysfs_node){.dir = dir->dir, .object = dir->object, .f = f};
	if (dir->dir == DIR_FUNCTIONS) {
		out->dir = DIR_FUNCTION;
		out->object = f->id;
	} else {
		out->entry = &sysfs_further;
		out->which = f->id;
	}
}

/* The first of config.links from @n on that no function of ours hides. */
static bool next_link(struct sysfs *fs, uint64_t n, struct sysfs_node *out, char name[256])
{
	for (; n < fs->config.nr_links; n++) {
		const char *link = fs->config.links[n].name;

		if (sysfs_function_named(fs, link, strlen(link)))
			continue;
		*out = (struct sysfs_node){
			.dir = DIR_PCI_DEVICES, .entry = &sysfs_further, .which = OTHER_LINKS + n};
		snprintf(name, 256, "%s", link);
		return true;
	}
	return false;
}

static void number_node(const struct sysfs_node *dir, uint64_t n, struct sysfs_node *out)
{
	*out = (struct sysfs_node){.dir = dir->dir == DIR_SLOTS ? DIR_SLOT : DIR_GROUP,
				   .object = n};
}

static void message_node(const struct sysfs_node *dir, unsigned vector, struct sysfs_node *out)
{
	*out = (struct sysfs_node){.dir = DIR_MSI_IRQS,
				   .object = dir->object,
				   .entry = &sysfs_further,
				   .which = dir->object << MSI_SHIFT | vector,
				   .f = dir->f};
}

/* The only entry of a directory that has one, and its name. */
static bool only_entry(struct sysfs *fs, const struct sysfs_node *dir, struct sysfs_node *out,
		       char name[256])
{
	unsigned minor = 0;

	*out = (struct sysfs_node){.object = dir->object, .f = dir->f};
	switch (dir->dir) {
	case DIR_DEVICES:
		out->dir = DIR_FUNCTIONS;
		snprintf(name, 256, "%s", fs->config.subdir);
		return true;
	case DIR_UIO:
		out->dir = DIR_UIO_N;
		if (!function_uio(fs, dir->f, &minor))
			return false;
		snprintf(name, 256, "uio%u", minor);
		return true;
	case DIR_VFIO_DEV:
		out->dir = DIR_VFIO_DEV_N;
		snprintf(name, 256, "vfio%llu", (unsigned long long)dir->object - 1);
		return true;
	default:
		return false;
	}
}

/* The first of the host's own drivers behind @last, with functions. */
static bool next_driver(struct sysfs *fs, uint64_t last, uint64_t *out, char name[256])
{
	uint64_t n = last < DRIVER_MODEL ? DRIVER_MODEL : last + 1;

	for (; vfio_machine_model(fs->config.machine, (unsigned)n - DRIVER_MODEL); n++) {
		if (!sysfs_driver_exists(fs, n) || !sysfs_driver_name(fs, (unsigned)n, name))
			continue;
		*out = n;
		return true;
	}
	return false;
}

/* The further entry behind *@last (0: the first); *@last becomes its own. */
static bool next_further(struct sysfs *fs, const struct sysfs_node *dir, uint64_t *last,
			 struct sysfs_node *out, char name[256])
{
	struct function *f;
	unsigned irq, minor = 0;
	uint64_t n = 0;

	switch (dir->dir) {
	case DIR_DRIVERS:
		if (!next_driver(fs, *last, &n, name))
			return false;
		*last = n;
		*out = (struct sysfs_node){.dir = DIR_DRIVER, .object = n};
		return true;
	case DIR_FUNCTION:
	case DIR_FUNCTIONS:
	case DIR_PCI_DEVICES:
	case DIR_DRIVER:
	case DIR_GROUP_DEVICES:
	case DIR_CLASS_UIO:
	case DIR_NODES:
		f = *last < OTHER_LINKS ? next_function(fs, dir, *last) : NULL;
		if (f) {
			*last = f->id;
			function_node(dir, f, out);
			if (dir->dir == DIR_FUNCTION)
				snprintf(name, 256, "virtfn%u", f->vf);
			else if (dir->dir != DIR_CLASS_UIO && dir->dir != DIR_NODES)
				snprintf(name, 256, "%s", f->name);
			else if (function_uio(fs, f, &minor))
				snprintf(name, 256, "uio%u", minor);
			else
				return false;
			return true;
		}
		n = *last < OTHER_LINKS ? 0 : *last - OTHER_LINKS + 1;
		if (dir->dir != DIR_PCI_DEVICES || !next_link(fs, n, out, name))
			return false;
		*last = out->which;
		return true;
	case DIR_SLOTS:
	case DIR_GROUPS:
		if (!next_number(fs, dir->dir == DIR_SLOTS, *last, &n))
			return false;
		*last = n + 1;
		number_node(dir, n, out);
		snprintf(name, 256, "%llu", (unsigned long long)n);
		return true;
	case DIR_MSI_IRQS:
		if (*last >= function_messages(fs, dir->f, &irq))
			return false;
		message_node(dir, (unsigned)*last, out);
		snprintf(name, 256, "%u", irq + (unsigned)*last);
		++*last;
		return true;
	default:
		if (*last || !only_entry(fs, dir, out, name))
			return false;
		*last = 1;
		return true;
	}
}

bool sysfs_next(struct sysfs *fs, const struct sysfs_node *dir, uint64_t *cookie,
		struct sysfs_node *out, char name[256])
{
	const struct sysfs_entry *entries = sysfs_entries(dir->dir);
	uint64_t last;

	for (unsigned n = sysfs_nr_entries(dir->dir); *cookie < n;) {
		const struct sysfs_entry *e = &entries[(*cookie)++];

		if (!sysfs_static(fs, dir, e, out))
			continue;
		snprintf(name, 256, "%s", e->name);
		return true;
	}
	last = *cookie < FIRST_COOKIE ? 0 : *cookie - FIRST_COOKIE;
	if (!next_further(fs, dir, &last, out, name))
		return false;
	*cookie = FIRST_COOKIE + last;
	return true;
}

/* ---- by name ---- */

/* What follows @prefix in @name, if that is a number written as we write numbers. */
static bool number_in(const char *name, const char *prefix, uint64_t *out)
{
	const char *digits = name + strlen(prefix);
	size_t len;

	if (strncmp(name, prefix, strlen(prefix)) != 0)
		return false;
	len = strspn(digits, "0123456789");
	if (!len || len > 10 || digits[len] || (digits[0] == '0' && len > 1))
		return false;
	*out = strtoull(digits, NULL, 10);
	return true;
}

/* VF @index of the PF whose directory @dir is. */
static struct function *vf_of(struct sysfs *fs, const struct sysfs_node *dir, uint64_t index)
{
	struct vfio_device *pf = function_device(fs, dir->f), *vf = NULL;
	struct function *f = NULL;

	if (pf && dir->f->is_pf && index < vfio_device_total_vfs(pf))
		vf = vfio_device_get_vf(pf, (unsigned)index);
	if (vf)
		f = sysfs_function(fs, vfio_device_serial(vf));
	if (vf)
		vfio_device_put(vf);
	if (pf)
		vfio_device_put(pf);
	return f;
}

/* In directories whose names come from functions. */
static struct function *function_named(struct sysfs *fs, const struct sysfs_node *dir,
				       const char *name)
{
	struct function *f;
	uint64_t n;

	if (dir->dir == DIR_FUNCTION)
		f = number_in(name, "virtfn", &n) ? vf_of(fs, dir, n) : NULL;
	else
		f = sysfs_function_named(fs, name, strlen(name));
	return f && has_entry(fs, dir, f) ? f : NULL;
}

bool sysfs_lookup(struct sysfs *fs, const struct sysfs_node *dir, const char *name,
		  struct sysfs_node *out)
{
	uint64_t last = 0, n, found;
	struct function *f;
	char other[256];
	unsigned irq;

	if (dir->entry)
		return false;
	for (const struct sysfs_entry *e = sysfs_entries(dir->dir); e->name; e++)
		if (!strcmp(e->name, name) && sysfs_static(fs, dir, e, out))
			return true;
	switch (dir->dir) {
	case DIR_FUNCTION:
	case DIR_FUNCTIONS:
	case DIR_PCI_DEVICES:
	case DIR_DRIVER:
	case DIR_GROUP_DEVICES:
		f = function_named(fs, dir, name);
		if (f)
			function_node(dir, f, out);
		if (f || dir->dir != DIR_PCI_DEVICES)
			return f != NULL;
		last = OTHER_LINKS - 1;
		break;
	case DIR_SLOTS:
	case DIR_GROUPS:
		if (!number_in(name, "", &n) ||
		    !next_number(fs, dir->dir == DIR_SLOTS, n, &found) || found != n)
			return false;
		number_node(dir, n, out);
		return true;
	case DIR_MSI_IRQS:
		found = function_messages(fs, dir->f, &irq);
		if (!number_in(name, "", &n) || n < irq || n - irq >= found)
			return false;
		message_node(dir, (unsigned)(n - irq), out);
		return true;
	default:
		break;
	}
	while (next_further(fs, dir, &last, out, other))
		if (!strcmp(other, name))
			return true;
	return false;
}
