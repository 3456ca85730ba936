/* SPDX-License-Identifier: BSD-3-Clause */
/* The files of a function: what they show, and what is stored at once. */
#include <errno.h>
#include <linux/pci_regs.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "sysfs/driver.h"
#include "sysfs/functions.h"
#include "sysfs/sriov.h"

/* Flags of a resource (the kernel's IORESOURCE_…); the low bits are those of the BAR. */
#define RES_IO        0x00000100ull
#define RES_MEM       0x00000200ull
#define RES_PREFETCH  0x00002000ull
#define RES_READONLY  0x00004000ull
#define RES_SIZEALIGN 0x00040000ull
#define RES_MEM_64    0x00100000ull
#define RES_VF_BARS   7  /* the first line of a PF's VF BARs, behind BARs and ROM */
#define RES_LINES     13 /* with these; the rest is for bridges */

#define MAX_NODES     1024 /* of memory, that a kernel may have */

/* ---- ids ---- */

enum id { ID_VENDOR, ID_DEVICE, ID_SUBVENDOR, ID_SUBDEVICE };

static ssize_t show_id(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	const struct function *f = node->f;
	const uint16_t ids[] = {f->ids.vendor, f->ids.device, f->ids.subvendor, f->ids.subdevice};

	return snprintf(out, size, "0x%04x\n", ids[node->entry->arg]);
}

static ssize_t show_class(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	return snprintf(out, size, "0x%06x\n", node->f->ids.class);
}

static ssize_t show_revision(struct sysfs *fs, const struct sysfs_node *node, char *out,
			     size_t size)
{
	return snprintf(out, size, "0x%02x\n", node->f->ids.revision);
}

static ssize_t show_modalias(struct sysfs *fs, const struct sysfs_node *node, char *out,
			     size_t size)
{
	const struct function *f = node->f;

	return snprintf(out, size, "pci:v%08Xd%08Xsv%08Xsd%08Xbc%02Xsc%02Xi%02X\n", f->ids.vendor,
			f->ids.device, f->ids.subvendor, f->ids.subdevice, f->ids.class >> 16,
			f->ids.class >> 8 & 0xff, f->ids.class & 0xff);
}

static ssize_t show_uevent(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	const struct function *f = node->f;
	const char *driver = function_driver_name(fs, f, (char[SYSFS_DRIVER_NAME]){""});
	int n = snprintf(out, size,
			 "%s%s%sPCI_CLASS=%X\nPCI_ID=%04X:%04X\nPCI_SUBSYS_ID=%04X:%04X\n"
			 "PCI_SLOT_NAME=%s\nMODALIAS=",
			 driver ? "DRIVER=" : "", driver ? driver : "", driver ? "\n" : "",
			 f->ids.class, f->ids.vendor, f->ids.device, f->ids.subvendor,
			 f->ids.subdevice, f->name);

	return n + show_modalias(fs, node, out + n, size - (size_t)n);
}

/* Nobody listens to what it would send. */
static ssize_t store_uevent(struct sysfs *fs, const struct sysfs_node *node, struct sysfs_store *s)
{
	static const char *const actions[] = {"add",    "remove",  "change", "move",
					      "online", "offline", "bind",   "unbind"};
	size_t word = strcspn(s->text, " \n");

	for (unsigned i = 0; i < sizeof(actions) / sizeof(*actions); i++)
		if (strlen(actions[i]) == word && !strncmp(actions[i], s->text, word))
			return (ssize_t)s->len;
	return -EINVAL;
}

/* ---- resources ---- */

static unsigned long long resource_flags(unsigned flags)
{
	if (flags & UVFIO_BAR_IO)
		return RES_SIZEALIGN | RES_IO | PCI_BASE_ADDRESS_SPACE_IO;
	return RES_SIZEALIGN | RES_MEM |
	       (flags & UVFIO_BAR_PREFETCH ? RES_PREFETCH | PCI_BASE_ADDRESS_MEM_PREFETCH : 0) |
	       (flags & UVFIO_BAR_MEM64 ? RES_MEM_64 | PCI_BASE_ADDRESS_MEM_TYPE_64 : 0);
}

static ssize_t show_resource(struct sysfs *fs, const struct sysfs_node *node, char *out,
			     size_t size)
{
	const struct function *f = node->f;
	struct function_bar vf_bars[6];
	size_t len = 0;

	sriov_bars(fs, f, vf_bars);
	for (unsigned i = 0; i < RES_LINES; i++) {
		const struct function_bar *bar = i < 6   ? &f->bars[i]
						 : i > 6 ? &vf_bars[i - RES_VF_BARS]
							 : NULL;
		unsigned long long start = 0, end = 0, flags = 0;

		if (bar && bar->size) {
			start = bar->address;
			end = start + bar->size - 1;
			flags = resource_flags(bar->flags);
		} else if (i == 6 && f->rom_size) {
			/* It is in no window; programs take its size from here. */
			end = f->rom_size - 1;
			flags = RES_MEM | RES_PREFETCH | RES_READONLY | RES_SIZEALIGN;
		}
		len += (size_t)snprintf(out + len, size - len, "0x%016llx 0x%016llx 0x%016llx\n",
					start, end, flags);
	}
	return (ssize_t)len;
}

static bool has_bar(struct sysfs *fs, const struct sysfs_node *node)
{
	return node->f->bars[node->entry->arg].size;
}

static bool has_prefetch(struct sysfs *fs, const struct sysfs_node *node)
{
	const unsigned flags = node->f->bars[node->entry->arg].flags;

	return has_bar(fs, node) && (flags & UVFIO_BAR_PREFETCH) && !(flags & UVFIO_BAR_IO);
}

static uint64_t bar_size(struct sysfs *fs, const struct sysfs_node *node)
{
	return node->f->bars[node->entry->arg].size;
}

static bool has_rom(struct sysfs *fs, const struct sysfs_node *node)
{
	return node->f->rom_size;
}

static uint64_t rom_size(struct sysfs *fs, const struct sysfs_node *node)
{
	return node->f->rom_size;
}

static uint64_t config_size(struct sysfs *fs, const struct sysfs_node *node)
{
	return node->f->config_size;
}

/* ---- numbers that are shown and stored ---- */

static ssize_t show_irq(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	return snprintf(out, size, "%u\n", function_irq(fs, node->f));
}

static ssize_t show_enable(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	unsigned which = function_driver(fs, node->f);
	bool driver = which == DRIVER_UIO || (which >= DRIVER_MODEL && which != SYSFS_NO_DRIVER) ||
		      function_open(fs, node->f);

	return snprintf(out, size, "%u\n", node->f->enabled + driver);
}

static ssize_t show_numa_node(struct sysfs *fs, const struct sysfs_node *node, char *out,
			      size_t size)
{
	return snprintf(out, size, "-1\n");
}

/* There is nothing here that another node would be good for. */
static ssize_t store_numa_node(struct sysfs *fs, const struct sysfs_node *node,
			       struct sysfs_store *s)
{
	char *end;
	long n;

	if (!s->admin)
		return -EPERM;
	errno = 0;
	n = strtol(s->text, &end, 0);
	if (end == s->text || errno || (*end && strcmp(end, "\n") != 0) || n != -1)
		return -EINVAL;
	return (ssize_t)s->len;
}

enum flag { FLAG_PARITY, FLAG_D3COLD, FLAG_MSI };

static bool *flag_of(struct function *f, unsigned which)
{
	bool *flags[] = {&f->parity, &f->no_d3cold, &f->no_msi};

	return flags[which];
}

static ssize_t show_flag(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	bool value = *flag_of(node->f, node->entry->arg);

	return snprintf(out, size, "%d\n", value != (node->entry->arg != FLAG_PARITY));
}

static ssize_t store_flag(struct sysfs *fs, const struct sysfs_node *node, struct sysfs_store *s)
{
	unsigned long n;

	if (node->entry->arg == FLAG_MSI && !s->admin)
		return -EPERM;
	if (sysfs_number(s, &n))
		return -EINVAL;
	*flag_of(node->f, node->entry->arg) = (n != 0) != (node->entry->arg != FLAG_PARITY);
	return (ssize_t)s->len;
}

static ssize_t show_constant(struct sysfs *fs, const struct sysfs_node *node, char *out,
			     size_t size)
{
	return snprintf(out, size, "%u\n", node->entry->arg);
}

static ssize_t show_ari(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	return snprintf(out, size, "%u\n", node->f->ari);
}

static ssize_t show_power_state(struct sysfs *fs, const struct sysfs_node *node, char *out,
				size_t size)
{
	static const char *const names[] = {"D0", "D1", "D2", "D3hot"};
	struct vfio_device *dev = function_device(fs, node->f);
	unsigned state;

	if (!dev)
		return -ENODEV;
	state = pci_power_state(vfio_device_func(dev));
	vfio_device_put(dev);
	return snprintf(out, size, "%s\n", names[state & 3]);
}

/* ---- this machine's processors, as the kernel writes sets of them ---- */

static ssize_t show_cpus(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	long n = sysconf(_SC_NPROCESSORS_CONF);
	size_t len = 0;

	if (n < 1)
		n = 1;
	if (node->entry->arg)
		return n == 1 ? snprintf(out, size, "0\n") : snprintf(out, size, "0-%ld\n", n - 1);
	for (long word = (n - 1) / 32; word >= 0; word--) {
		long bits = n - 32 * word;
		uint32_t mask = bits >= 32 ? ~0u : (1u << bits) - 1;

		len += (size_t)snprintf(out + len, size - len, len ? ",%08x" : "%x", mask);
	}
	return (ssize_t)len + snprintf(out + len, size - len, "\n");
}

/* ---- the link ---- */

static bool is_pcie(struct sysfs *fs, const struct sysfs_node *node)
{
	return node->f->exp;
}

enum link { LINK_MAX_SPEED, LINK_MAX_WIDTH, LINK_SPEED, LINK_WIDTH };

static ssize_t show_link(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	static const char *const speeds[] = {
		"Unknown",        "2.5 GT/s PCIe",  "5.0 GT/s PCIe",  "8.0 GT/s PCIe",
		"16.0 GT/s PCIe", "32.0 GT/s PCIe", "64.0 GT/s PCIe",
	};
	const unsigned which = node->entry->arg;
	uint32_t reg = which <= LINK_MAX_WIDTH ? node->f->link : node->f->link_status;
	unsigned speed = reg & PCI_EXP_LNKCAP_SLS;

	if (which == LINK_MAX_WIDTH || which == LINK_WIDTH)
		return snprintf(out, size, "%u\n", (reg & PCI_EXP_LNKCAP_MLW) >> 4);
	return snprintf(out, size, "%s\n", speeds[speed < 7 ? speed : 0]);
}

/* ---- reset ---- */

static bool can_reset(struct sysfs *fs, const struct sysfs_node *node)
{
	struct vfio_device *dev = function_device(fs, node->f);
	bool can = dev && vfio_device_reset_methods(dev);

	if (dev)
		vfio_device_put(dev);
	return can;
}

static const struct {
	const char *name;
	unsigned method; /* enum vfio_reset_method */
} methods[] = {
	{"flr", VFIO_RESET_FLR},
	{"af_flr", VFIO_RESET_AF_FLR},
	{"pm", VFIO_RESET_PM},
	{"bus", VFIO_RESET_BUS},
};

#define NR_METHODS (sizeof(methods) / sizeof(*methods))

static ssize_t show_reset_method(struct sysfs *fs, const struct sysfs_node *node, char *out,
				 size_t size)
{
	const struct function *f = node->f;
	struct vfio_device *dev = function_device(fs, f);
	unsigned have = dev ? vfio_device_reset_methods(dev) : 0;
	size_t len = 0;

	if (dev)
		vfio_device_put(dev);
	if (f->no_methods)
		return 0;
	out[0] = '\0';
	for (unsigned i = 0; i < (f->nr_methods ? f->nr_methods : NR_METHODS); i++) {
		unsigned m = f->nr_methods ? f->methods[i] : i;

		if (f->nr_methods || (have & methods[m].method))
			len += (size_t)snprintf(out + len, size - len, "%s%s", len ? " " : "",
						methods[m].name);
	}
	return (ssize_t)len + (len ? snprintf(out + len, size - len, "\n") : 0);
}

/* The methods in @text, which it breaks up: how many, or -EINVAL. */
static int parse_methods(char *text, unsigned have, uint8_t out[RESET_METHODS])
{
	char *save = NULL;
	unsigned n = 0;

	for (char *word = strtok_r(text, " \n", &save); word; word = strtok_r(NULL, " \n", &save)) {
		unsigned m = 0;

		while (m < NR_METHODS && strcmp(methods[m].name, word) != 0)
			m++;
		if (m == NR_METHODS || !(have & methods[m].method) || n == RESET_METHODS)
			return -EINVAL;
		out[n++] = (uint8_t)m;
	}
	return (int)n;
}

static ssize_t store_reset_method(struct sysfs *fs, const struct sysfs_node *node,
				  struct sysfs_store *s)
{
	struct function *f = node->f;
	struct vfio_device *dev = function_device(fs, f);
	char text[SYSFS_PAGE + 1];
	uint8_t list[RESET_METHODS];
	int n = 0;

	if (!dev)
		return -ENODEV;
	memcpy(text, s->text, s->len + 1);
	if (!sysfs_is(s, "") && !sysfs_is(s, "default"))
		n = parse_methods(text, vfio_device_reset_methods(dev), list);
	if (n >= 0) {
		f->no_methods = n == 0 && !sysfs_is(s, "default");
		f->nr_methods = (uint8_t)n;
		memcpy(f->methods, list, (size_t)n);
		vfio_device_allow_reset(dev, !f->no_methods);
	}
	vfio_device_put(dev);
	return n < 0 ? n : (ssize_t)s->len;
}

/* ---- links, and driver_override ---- */

static bool is_bound(struct sysfs *fs, const struct sysfs_node *node)
{
	return function_driver(fs, node->f) != SYSFS_NO_DRIVER;
}

static ssize_t show_driver(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	char name[SYSFS_DRIVER_NAME];

	if (!function_driver_name(fs, node->f, name))
		return -ENOENT;
	return sysfs_link_to(fs, node, out, size, "bus/pci/drivers/%s", name);
}

static ssize_t show_subsystem(struct sysfs *fs, const struct sysfs_node *node, char *out,
			      size_t size)
{
	return sysfs_link_to(fs, node, out, size, "bus/pci");
}

static ssize_t show_group(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	return sysfs_link_to(fs, node, out, size, "kernel/iommu_groups/%u", node->f->group);
}

static ssize_t show_override(struct sysfs *fs, const struct sysfs_node *node, char *out,
			     size_t size)
{
	return snprintf(out, size, "%s\n",
			node->f->driver_override ? node->f->driver_override : "(null)");
}

static ssize_t store_override(struct sysfs *fs, const struct sysfs_node *node,
			      struct sysfs_store *s)
{
	size_t len = strcspn(s->text, "\n");
	char *copy;

	if (s->len >= SYSFS_PAGE - 1)
		return -EINVAL;
	copy = strndup(s->text, len);
	if (!copy)
		return -ENOMEM;
	free(node->f->driver_override);
	node->f->driver_override = copy;
	if (!*copy) {
		free(copy);
		node->f->driver_override = NULL;
	}
	return (ssize_t)s->len;
}

/* ---- the tables ---- */

#define READ(name_, show_, arg_)                                                                   \
	{                                                                                          \
		.name = name_, .type = SYSFS_TEXT, .mode = 0444, .show = show_, .arg = arg_        \
	}
#define RDWR(name_, show_, store_, arg_)                                                           \
	{                                                                                          \
		.name = name_, .type = SYSFS_TEXT, .mode = 0644, .show = show_, .store = store_,   \
		.arg = arg_                                                                        \
	}
#define LINK(name_, show_, present_)                                                               \
	{                                                                                          \
		.name = name_, .type = SYSFS_LINK, .mode = 0777, .show = show_,                    \
		.present = present_                                                                \
	}
#define SUBDIR(name_, dir_)                                                                        \
	{                                                                                          \
		.name = name_, .type = SYSFS_DIR, .mode = 0755, .dir = dir_                        \
	}
#define PCIE(name_, which_)                                                                        \
	{                                                                                          \
		.name = name_, .type = SYSFS_TEXT, .mode = 0444, .show = show_link, .arg = which_, \
		.present = is_pcie                                                                 \
	}
#define PF_FILE(name_, which_, mode_, store_)                                                      \
	{                                                                                          \
		.name = name_, .type = SYSFS_TEXT, .mode = mode_, .show = show_sriov,              \
		.store = store_, .arg = which_, .present = sriov_is_pf                             \
	}
#define BAR(n_)                                                                                    \
	{.name = "resource" #n_,                                                                   \
	 .type = SYSFS_BINARY,                                                                     \
	 .mode = 0600,                                                                             \
	 .arg = n_,                                                                                \
	 .present = has_bar,                                                                       \
	 .size = bar_size},                                                                        \
	{                                                                                          \
		.name = "resource" #n_ "_wc", .type = SYSFS_BINARY, .mode = 0600, .arg = n_,       \
		.present = has_prefetch, .size = bar_size                                          \
	}

const struct sysfs_entry function_entries[] = {
	READ("vendor", show_id, ID_VENDOR),
	READ("device", show_id, ID_DEVICE),
	READ("subsystem_vendor", show_id, ID_SUBVENDOR),
	READ("subsystem_device", show_id, ID_SUBDEVICE),
	READ("class", show_class, 0),
	READ("revision", show_revision, 0),
	READ("modalias", show_modalias, 0),
	RDWR("uevent", show_uevent, store_uevent, 0),
	READ("resource", show_resource, 0),
	READ("irq", show_irq, 0),
	RDWR("enable", show_enable, store_enable, 0),
	RDWR("numa_node", show_numa_node, store_numa_node, 0),
	RDWR("broken_parity_status", show_flag, store_flag, FLAG_PARITY),
	RDWR("d3cold_allowed", show_flag, store_flag, FLAG_D3COLD),
	RDWR("msi_bus", show_flag, store_flag, FLAG_MSI),
	READ("ari_enabled", show_ari, 0),
	READ("dma_mask_bits", show_constant, 32),
	READ("consistent_dma_mask_bits", show_constant, 32),
	READ("local_cpus", show_cpus, 0),
	READ("local_cpulist", show_cpus, 1),
	READ("power_state", show_power_state, 0),
	PCIE("max_link_speed", LINK_MAX_SPEED),
	PCIE("max_link_width", LINK_MAX_WIDTH),
	PCIE("current_link_speed", LINK_SPEED),
	PCIE("current_link_width", LINK_WIDTH),
	RDWR("driver_override", show_override, store_override, 0),
	{.name = "reset",
	 .type = SYSFS_TEXT,
	 .mode = 0200,
	 .store = store_reset,
	 .present = can_reset},
	{.name = "reset_method",
	 .type = SYSFS_TEXT,
	 .mode = 0644,
	 .show = show_reset_method,
	 .store = store_reset_method,
	 .present = can_reset},
	{.name = "remove",
	 .type = SYSFS_TEXT,
	 .mode = 0220,
	 .store = store_remove,
	 .present = sriov_is_no_vf},
	{.name = "rescan",
	 .type = SYSFS_TEXT,
	 .mode = 0200,
	 .store = store_rescan,
	 .present = sriov_is_no_vf},
	PF_FILE("sriov_totalvfs", SRIOV_TOTAL, 0444, NULL),
	PF_FILE("sriov_numvfs", SRIOV_NUM, 0644, store_numvfs),
	PF_FILE("sriov_offset", SRIOV_OFFSET, 0444, NULL),
	PF_FILE("sriov_stride", SRIOV_STRIDE, 0444, NULL),
	PF_FILE("sriov_vf_device", SRIOV_VF_DEVICE, 0444, NULL),
	PF_FILE("sriov_drivers_autoprobe", SRIOV_AUTOPROBE, 0644, store_vf_autoprobe),
	PF_FILE("sriov_vf_total_msix", SRIOV_TOTAL_MSIX, 0444, NULL),
	{.name = "sriov_vf_msix_count",
	 .type = SYSFS_TEXT,
	 .mode = 0200,
	 .store = store_msix_count,
	 .present = sriov_is_vf},
	LINK("physfn", show_physfn, sriov_is_vf),
	LINK("driver", show_driver, is_bound),
	LINK("iommu_group", show_group, NULL),
	LINK("subsystem", show_subsystem, NULL),
	SUBDIR("power", DIR_POWER),
	SUBDIR("msi_irqs", DIR_MSI_IRQS),
	SUBDIR("vfio-dev", DIR_VFIO_DEV),
	SUBDIR("uio", DIR_UIO),
	SUBDIR("uvfio", DIR_UVFIO),
	{.name = "config", .type = SYSFS_BINARY, .mode = 0644, .size = config_size},
	BAR(0),
	BAR(1),
	BAR(2),
	BAR(3),
	BAR(4),
	BAR(5),
	{.name = "rom", .type = SYSFS_BINARY, .mode = 0600, .present = has_rom, .size = rom_size},
	{0},
};
