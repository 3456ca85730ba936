/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of a PCI function in sysfs say and do, line by line: for comparing a real kernel
 * with uvfio.  An ordinary program, to be run as root or as who owns the tree.
 *
 * scripts/kernel-rules --rules runs it on a real kernel (docs/sysfs.md); reference/ has the
 * answers.
 *
 * The device is bound to vfio-pci, with that as its driver_override, and has a memory BAR 0.  What
 * depends on the device or machine (ids, addresses) is checked for its form, not printed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "probe.h"

const char *device;
static const char *root = "/sys";
static char dir[256];

/* "@name": in the device's directory; else below the root. */
const char *full(const char *path)
{
	static char out[512];

	if (path[0] == '@')
		snprintf(out, sizeof(out), "%s/%s", dir, path + 1);
	else
		snprintf(out, sizeof(out), "%s/%s", root, path);
	return out;
}

static void say(const char *path, const char *what, const char *fmt, ...)
{
	va_list ap;

	printf("%s %s: ", path[0] == '@' ? path + 1 : path, what);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
}

const char *result(ssize_t n)
{
	static char out[32];

	if (n < 0)
		return strerrorname_np(errno);
	snprintf(out, sizeof(out), "%zd", n);
	return out;
}

/* ---- what there is ---- */

void mode(const char *path)
{
	struct stat st;

	if (lstat(full(path), &st))
		say(path, "mode", "%s", result(-1));
	else if (S_ISREG(st.st_mode))
		say(path, "mode", "%04o", st.st_mode & 07777);
	else
		say(path, "mode", "%s", S_ISDIR(st.st_mode) ? "directory" : "link");
}

static void size(const char *path)
{
	struct stat st;

	if (lstat(full(path), &st))
		say(path, "size", "%s", result(-1));
	else
		say(path, "size", "%lld", (long long)st.st_size);
}

static void link_name(const char *path)
{
	char target[512];
	ssize_t n = readlink(full(path), target, sizeof(target) - 1);

	if (n >= 0)
		target[n] = '\0';
	say(path, "leads to", "%s", n < 0 ? result(-1) : strrchr(target, '/') + 1);
}

static ssize_t get(const char *path, char *out, size_t len, off_t at)
{
	int fd = open(full(path), O_RDONLY | O_CLOEXEC), e;
	ssize_t n;

	if (fd < 0)
		return -1;
	n = pread(fd, out, len - 1, at);
	e = errno;
	if (n >= 0)
		out[n] = '\0';
	close(fd);
	errno = e;
	return n;
}

void show(const char *path)
{
	char text[8192];
	ssize_t n = get(path, text, sizeof(text), 0);

	for (ssize_t i = 0; i < n; i++)
		if (text[i] == '\n')
			text[i] = '$';
	say(path, "reads", "%s", n < 0 ? result(-1) : text);
}

/* Digits become 0, letters of hex numbers too: the form. */
void form(const char *path)
{
	char text[8192];
	ssize_t n = get(path, text, sizeof(text), 0);
	bool hex = false;

	for (ssize_t i = 0; i < n; i++) {
		if (text[i] == 'x' && i && text[i - 1] == '0')
			hex = true;
		else if (strchr("0123456789ABCDEF", text[i]) || (hex && strchr("abcdef", text[i])))
			text[i] = '0';
		else
			hex = false;
		if (text[i] == '\n')
			text[i] = '$';
	}
	say(path, "has the form", "%s", n < 0 ? result(-1) : text);
}

ssize_t put_bytes(const char *path, const void *bytes, size_t len, off_t at)
{
	int fd = open(full(path), O_WRONLY | O_CLOEXEC), e;
	ssize_t n;

	if (fd < 0)
		return -1;
	n = at ? pwrite(fd, bytes, len, at) : write(fd, bytes, len);
	e = errno;
	close(fd);
	errno = e;
	return n;
}

void put(const char *path, const char *text)
{
	char what[64];
	ssize_t n = put_bytes(path, text, strlen(text), 0);

	snprintf(what, sizeof(what), "<- '%.*s'", (int)strcspn(text, "\n"), text);
	if (strchr(text, '\n'))
		strcat(what, "$");
	say(path, what, "%s", result(n));
}

/* ---- the cases ---- */

static void names(void)
{
	static const char *const files[] = {
		"@ari_enabled",
		"@broken_parity_status",
		"@class",
		"@config",
		"@consistent_dma_mask_bits",
		"@current_link_speed",
		"@current_link_width",
		"@d3cold_allowed",
		"@device",
		"@dma_mask_bits",
		"@driver",
		"@driver_override",
		"@enable",
		"@iommu_group",
		"@irq",
		"@local_cpulist",
		"@local_cpus",
		"@max_link_speed",
		"@max_link_width",
		"@modalias",
		"@msi_bus",
		"@msi_irqs",
		"@numa_node",
		"@power",
		"@power/control",
		"@power/runtime_status",
		"@power/autosuspend_delay_ms",
		"@power/runtime_active_time",
		"@power/runtime_suspended_time",
		"@power_state",
		"@remove",
		"@rescan",
		"@reset",
		"@reset_method",
		"@resource",
		"@resource0",
		"@revision",
		"@subsystem",
		"@subsystem_device",
		"@subsystem_vendor",
		"@uevent",
		"@vendor",
		"@vfio-dev",
		"@sriov_numvfs",
		"@sriov_totalvfs",
		"@physfn",
		"bus/pci/devices",
		"bus/pci/drivers",
		"bus/pci/drivers_autoprobe",
		"bus/pci/drivers_probe",
		"bus/pci/rescan",
		"bus/pci/slots",
		"bus/pci/drivers/vfio-pci/bind",
		"bus/pci/drivers/vfio-pci/unbind",
		"bus/pci/drivers/vfio-pci/new_id",
		"bus/pci/drivers/vfio-pci/remove_id",
		"bus/pci/drivers/vfio-pci/uevent",
		"bus/pci/drivers/vfio-pci/module",
		"module/vfio/initstate",
		"module/vfio_pci/parameters/nointxmask",
		"module/vfio_pci/parameters/disable_idle_d3",
		"module/vfio_pci/parameters/enable_sriov",
		"module/vfio_iommu_type1/parameters/allow_unsafe_interrupts",
		"module/vfio_iommu_type1/parameters/dma_entry_limit",
	};

	for (unsigned i = 0; i < sizeof(files) / sizeof(*files); i++)
		mode(files[i]);
	size("@vendor");
	size("@config");
}

static void values(void)
{
	char path[128], group[64] = "";
	ssize_t n = readlink(full("@iommu_group"), path, sizeof(path) - 1);

	link_name("@driver");
	link_name("@subsystem");
	form("@vendor");
	form("@device");
	form("@subsystem_vendor");
	form("@subsystem_device");
	form("@class");
	form("@revision");
	form("@modalias");
	show("@numa_node");
	show("@enable");
	show("@broken_parity_status");
	show("@msi_bus");
	show("@d3cold_allowed");
	show("@ari_enabled");
	form("@dma_mask_bits");
	form("@consistent_dma_mask_bits");
	show("@power/control");
	show("@power/autosuspend_delay_ms");
	show("@driver_override");
	show("bus/pci/drivers_autoprobe");
	if (n > 0) {
		path[n] = '\0';
		snprintf(group, sizeof(group), "kernel/iommu_groups/%s", strrchr(path, '/') + 1);
		snprintf(path, sizeof(path), "%s/type", group);
		printf("iommu_groups/N/type: ");
		n = get(path, path, sizeof(path), 0);
		printf("%s", n < 0 ? "none\n" : path);
	}
}

static void driver_override(void)
{
	char big[4200];

	put("@driver_override", "x\n");
	show("@driver_override");
	put("@driver_override", "two words");
	show("@driver_override");
	put("@driver_override", "a\nb\n");
	show("@driver_override");
	put("@driver_override", "");
	show("@driver_override");
	put("@driver_override", "\n");
	show("@driver_override");
	memset(big, 'a', sizeof(big));
	say("@driver_override", "<- 4094 bytes", "%s",
	    result(put_bytes("@driver_override", big, 4094, 0)));
	say("@driver_override", "<- 4095 bytes", "%s",
	    result(put_bytes("@driver_override", big, 4095, 0)));
	say("@driver_override", "<- 4200 bytes", "%s",
	    result(put_bytes("@driver_override", big, 4200, 0)));
	put("@driver_override", "\n");
	say("@driver_override", "<- at 5", "%s", result(put_bytes("@driver_override", "q", 1, 5)));
	show("@driver_override");
	put("@driver_override", "(null)");
	show("@driver_override");
	put("@driver_override", "vfio-pci");
}

static void numbers(void)
{
	static const char *const files[] = {
		"@reset",   "@enable", "@numa_node", "@broken_parity_status", "@d3cold_allowed",
		"@msi_bus", "@remove", "@rescan",    "bus/pci/rescan"};
	static const char *const wrong[] = {
		"", "\n", "x", "-", "1x", " 0", "99999999999999999999999"};

	for (unsigned i = 0; i < sizeof(files) / sizeof(*files); i++)
		for (unsigned j = 0; j < sizeof(wrong) / sizeof(*wrong); j++)
			put(files[i], wrong[j]);
	put("@reset", "0");
	put("@reset", "2");
	put("@reset", "1");
	put("@reset", "0x1\n");
	put("@reset", "+1");
	put("@remove", "0");
	put("@rescan", "0");
	put("@rescan", "1");
	put("@enable", "1");
	put("@enable", "0");
	put("@numa_node", "-2");
	put("@numa_node", "5000");
	put("@numa_node", "-1");
	show("@numa_node");
	put("@broken_parity_status", "5");
	show("@broken_parity_status");
	put("@broken_parity_status", "0");
	put("@d3cold_allowed", "0");
	show("@d3cold_allowed");
	put("@d3cold_allowed", "1");
	put("bus/pci/rescan", "0");
	put("bus/pci/drivers_autoprobe", "0");
	show("bus/pci/drivers_autoprobe");
	put("bus/pci/drivers_autoprobe", "yes");
	show("bus/pci/drivers_autoprobe");
	put("@power/control", "on");
	show("@power/control");
	put("@power/control", "auto\n");
	show("@power/control");
	put("@power/control", "autos");
	put("@power/control", "");
	put("@uevent", "add");
	put("@uevent", "nonsense");
	put("@uevent", "");
	put("@vendor", "1");
}

static void reset_method(void)
{
	char all[256] = "";
	ssize_t n = get("@reset_method", all, sizeof(all), 0);

	say("@reset_method", "begins with", "%.3s", n < 0 ? result(-1) : all);
	put("@reset_method", "nonsense");
	put("@reset_method", "flr nonsense");
	put("@reset_method", "bus");
	show("@reset_method");
	put("@reset_method", "flr\n");
	show("@reset_method");
	put("@reset_method", " flr  bus ");
	show("@reset_method");
	put("@reset_method", "flr flr");
	show("@reset_method");
	put("@reset_method", "FLR");
	put("@reset_method", "acpi");
	put("@reset_method", "\n");
	mode("@reset_method");
	show("@reset_method");
	put("@reset", "1");
	put("@reset_method", "");
	show("@reset_method");
	put("@reset_method", "default");
	n = get("@reset_method", full("") == NULL ? NULL : all, sizeof(all), 0);
	say("@reset_method", "by default begins with", "%.3s", n < 0 ? result(-1) : all);
}

static void binding(void)
{
	static const char bind[] = "bus/pci/drivers/vfio-pci/bind",
			  unbind[] = "bus/pci/drivers/vfio-pci/unbind",
			  new_id[] = "bus/pci/drivers/vfio-pci/new_id",
			  remove_id[] = "bus/pci/drivers/vfio-pci/remove_id",
			  probe[] = "bus/pci/drivers_probe";
	char ids[64], text[16];
	unsigned long vendor, product;

	get("@vendor", text, sizeof(text), 0);
	vendor = strtoul(text, NULL, 16);
	get("@device", text, sizeof(text), 0);
	product = strtoul(text, NULL, 16);
	put(bind, "nonsense");
	put(bind, "0000:77:00.0");
	put(bind, "");
	put(unbind, "nonsense");
	put(unbind, "");
	put(probe, "nonsense");
	put(probe, "");
	printf("bind while bound: %s\n", result(put_bytes(bind, device, strlen(device), 0)));
	printf("probe while bound: %s\n", result(put_bytes(probe, device, strlen(device), 0)));
	printf("unbind: %s\n", result(put_bytes(unbind, device, strlen(device), 0)));
	mode("@driver");
	mode("@vfio-dev");
	mode("@driver/unbind");
	printf("unbind again: %s\n", result(put_bytes(unbind, device, strlen(device), 0)));
	mode("@iommu_group");
	put("@driver_override", "nonsense");
	printf("bind with another override: %s\n",
	       result(put_bytes(bind, device, strlen(device), 0)));
	printf("probe with another override: %s\n",
	       result(put_bytes(probe, device, strlen(device), 0)));
	mode("@driver");
	put("@driver_override", "\n");
	printf("bind without override: %s\n", result(put_bytes(bind, device, strlen(device), 0)));
	show("@enable");
	put("@enable", "1");
	show("@enable");
	put("@enable", "1");
	show("@enable");
	put("@enable", "0");
	put("@enable", "0");
	show("@enable");
	put("@enable", "0");
	put(new_id, "");
	put(new_id, "12");
	put(new_id, "zz 12");
	put(remove_id, "12");
	put(remove_id, "aaaa bbbb");
	put(new_id, "aaaa bbbb");
	put(new_id, "aaaa bbbb");
	put(new_id, "aaaa bbbb 1 2 3 4 5");
	put(remove_id, "aaaa bbbb");
	put(remove_id, "aaaa bbbb");
	snprintf(ids, sizeof(ids), "%lx %lx", vendor, product);
	printf("new_id with its ids: %s\n",
	       result(put_bytes(new_id, ids, strlen(ids), 0)) ? "done" : "");
	link_name("@driver");
	printf("unbind: %s\n", result(put_bytes(unbind, device, strlen(device), 0)));
	printf("bind by id: %s\n", result(put_bytes(bind, device, strlen(device), 0)));
	printf("remove_id: %s\n",
	       put_bytes(remove_id, ids, strlen(ids), 0) > 0 ? "done" : result(-1));
	link_name("@driver");
	printf("unbind: %s\n", result(put_bytes(unbind, device, strlen(device), 0)));
	printf("bind without id: %s\n", result(put_bytes(bind, device, strlen(device), 0)));
	put("@driver_override", "vfio-pci");
	snprintf(ids, sizeof(ids), "%s\n", device);
	printf("bind with a line end: %s\n", result(put_bytes(bind, ids, strlen(ids), 0)));
	link_name("@driver");
	mode("@vfio-dev");
}

static void config(void)
{
	unsigned char bytes[4200], before, after;
	int fd = open(full("@config"), O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		say("@config", "open", "%s", result(-1));
		return;
	}
	say("@config", "read 4200 at 0", "%s", result(pread(fd, bytes, sizeof(bytes), 0)));
	say("@config", "read 8 at 4092", "%s", result(pread(fd, bytes, 8, 4092)));
	say("@config", "read 8 at 4096", "%s", result(pread(fd, bytes, 8, 4096)));
	say("@config", "read 3 at 1", "%s", result(pread(fd, bytes, 3, 1)));
	before = (unsigned char)(pread(fd, bytes, 1, 0x3c) == 1 ? bytes[0] : 0);
	bytes[0] = (unsigned char)(before ^ 0x55);
	say("@config", "write 1 at 0x3c", "%s", result(pwrite(fd, bytes, 1, 0x3c)));
	after = (unsigned char)(pread(fd, bytes, 1, 0x3c) == 1 ? bytes[0] : 0);
	say("@config", "interrupt line", "%s", (after ^ before) == 0x55 ? "written" : "as before");
	say("@config", "write back", "%s", result(pwrite(fd, &before, 1, 0x3c)));
	say("@config", "write 8 at 4092", "%s", result(pwrite(fd, bytes, 8, 4092)));
	say("@config", "write 1 at 4096", "%s", result(pwrite(fd, bytes, 1, 4096)));
	say("@config", "write 0 at 0", "%s", result(pwrite(fd, bytes, 0, 0)));
	say("@config", "write 2 at 0", "%s", result(pwrite(fd, "\0\0", 2, 0)));
	say("@config", "mmap", "%s",
	    mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED ? result(-1) : "mapped");
	close(fd);
	form("@vendor");
}

static void resource(void)
{
	char text[64], byte[8] = "";
	int fd = open(full("@resource0"), O_RDWR | O_CLOEXEC);
	ssize_t n;

	n = get("@resource", text, sizeof(text), 0);
	say("@resource", "line of BAR 0", "%s",
	    n > 57 && text[56] == '\n' ? "56 characters" : "odd");
	say("@resource0", "open", "%s", fd < 0 ? result(-1) : "ok");
	say("@resource0", "read", "%s", result(pread(fd, byte, 4, 0)));
	say("@resource0", "write", "%s", result(pwrite(fd, byte, 4, 0)));
	close(fd);
}

static void misuse(void)
{
	char byte;

	say("@reset", "open to read", "%s", result(open(full("@reset"), O_RDONLY | O_CLOEXEC)) + 0);
	say("@remove", "read", "%s", result(get("@remove", &byte, 1, 0)));
	say("@vendor", "open to write", "%s",
	    open(full("@vendor"), O_WRONLY | O_CLOEXEC) < 0 ? result(-1) : "ok");
	say("@new", "create", "%s",
	    open(full("@new"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600) < 0 ? result(-1) : "ok");
	say("@dir", "mkdir", "%s", result(mkdir(full("@dir"), 0755)));
	say("@vendor", "unlink", "%s", result(unlink(full("@vendor"))));
	say("@new", "symlink", "%s", result(symlink("x", full("@new"))));
	say("@power", "rmdir", "%s", result(rmdir(full("@power"))));
	say("@driver_override", "open with O_TRUNC", "%s",
	    open(full("@driver_override"), O_WRONLY | O_TRUNC | O_CLOEXEC) < 0 ? result(-1) : "ok");
	show("@driver_override");
	say("@driver_override", "truncate", "%s", result(truncate(full("@driver_override"), 0)));
	say("@vendor", "chmod", "%s", result(chmod(full("@vendor"), 0400)));
	mode("@vendor");
	chmod(full("@vendor"), 0444);
}

static void removal(void)
{
	put("@remove", "2");
	mode("@vendor");
	mode("@");
	put("bus/pci/rescan", "1");
	mode("@vendor");
	show("@driver_override");
}

static const struct {
	const char *name;
	void (*run)(void);
	bool on_demand;
} cases[] = {
	{"names", names, false},
	{"values", values, false},
	{"driver_override", driver_override, false},
	{"numbers", numbers, false},
	{"reset_method", reset_method, false},
	{"binding", binding, false},
	{"config", config, false},
	{"resource", resource, false},
	{"misuse", misuse, false},
	{"stranger", stranger, false},
	{"in_use", in_use, false},
	{"interrupted", interrupted, true},
	{"removal", removal, false},
};

int main(int argc, char **argv)
{
	const char *only = NULL;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--device"))
			device = argv[i + 1];
		else if (!strcmp(argv[i], "--root"))
			root = argv[i + 1];
		else if (!strcmp(argv[i], "--only"))
			only = argv[i + 1];
	}
	if (!device) {
		fprintf(stderr, "probe --device ADDRESS [--root DIR] [--only CASE]\n");
		return 2;
	}
	snprintf(dir, sizeof(dir), "%s/bus/pci/devices/%s", root, device);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		if (only ? strcmp(only, cases[i].name) != 0 : cases[i].on_demand)
			continue;
		printf("# %s\n", cases[i].name);
		cases[i].run();
	}
	return 0;
}
