// SPDX-License-Identifier: BSD-3-Clause
/* B and C: what their cases do. */
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sys/stat.h>
#include "d3.h"
#include "sriov.h"

#define DEVICES "/sys/bus/pci/devices"
#define DRIVERS "/sys/bus/pci/drivers"

/* ---- the host, through /sys ------------------------------------------------------------------ */

static long write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	long rc;

	if (fd < 0)
		return -errno;
	rc = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return rc;
}

long fn_write(const char *bdf, const char *name, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), DEVICES "/%s/%s", bdf, name);
	return write_file(path, text);
}

const char *fn_read(const char *bdf, const char *name, char buf[64])
{
	char path[128];
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), DEVICES "/%s/%s", bdf, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, buf, 63);
		close(fd);
	}
	buf[n > 0 ? n : 0] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	return buf;
}

long fn_number(const char *bdf, const char *name)
{
	char buf[64];

	return *fn_read(bdf, name, buf) ? strtol(buf, NULL, 0) : -ENOENT;
}

bool fn_has(const char *bdf, const char *name)
{
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), DEVICES "/%s/%s", bdf, name);
	return !lstat(path, &st);
}

static const char *link_name(const char *bdf, const char *name, char buf[64])
{
	char path[128], link[PATH_MAX];
	ssize_t n;

	snprintf(path, sizeof(path), DEVICES "/%s/%s", bdf, name);
	n = readlink(path, link, sizeof(link) - 1);
	link[n > 0 ? n : 0] = '\0';
	snprintf(buf, 64, "%.63s", n > 0 ? basename(link) : "");
	return buf;
}

const char *fn_driver(const char *bdf, char buf[64])
{
	return link_name(bdf, "driver", buf);
}

long fn_bind(const char *bdf, const char *driver)
{
	char path[128];
	long rc = fn_write(bdf, "driver_override", driver);

	if (rc)
		return rc;
	snprintf(path, sizeof(path), DRIVERS "/%s/bind", driver);
	return write_file(path, bdf);
}

long fn_unbind(const char *bdf)
{
	return fn_write(bdf, "driver/unbind", bdf);
}

long policy_write(const char *name, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/module/vfio_pci/parameters/%s", name);
	return write_file(path, text);
}

/* ---- a known state --------------------------------------------------------------------------- */

static void need_host(struct t *t)
{
	if (access("/sys/bus/pci/drivers_probe", W_OK) || access(DRIVERS "/vfio-pci/bind", W_OK))
		skip(t, "sysfs cannot be written");
	if (!fn_has(t->f->bdf, "sriov_numvfs"))
		skip(t, "the device has no SR-IOV");
	if (!fn_has(t->f->bdf, "driver_override"))
		skip(t, "the device is not there");
}

/* The host's own driver of the PF. */
static void find_host_driver(struct sriov *s)
{
	static const char *const names[] = {"nvme", "igb", "pcitest"};
	char path[128], driver[64];

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(path, sizeof(path), DRIVERS "/%s/bind", names[i]);
		if (access(path, W_OK) || fn_bind(s->pf.bdf, names[i]))
			continue;
		if (strcmp(fn_driver(s->pf.bdf, driver), names[i]))
			continue;
		snprintf(s->host, sizeof(s->host), "%s", names[i]);
		return;
	}
}

long sriov_set(const struct sriov *s, unsigned n)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", n);
	return fn_write(s->pf.bdf, "sriov_numvfs", text);
}

static void learn_group(struct t *t, struct fn *fn)
{
	char buf[64];

	link_name(fn->bdf, "iommu_group", buf);
	must(t, "iommu-group", buf[0] ? 0 : -ENODEV);
	fn->group = (unsigned)atoi(buf);
}

void sriov_learn(struct t *t, struct sriov *s, unsigned n)
{
	char name[32], buf[64];

	for (unsigned i = 0; i < n && i < ARRAY_LEN(s->vf); i++) {
		struct fn *vf = &s->vf[i];

		snprintf(name, sizeof(name), "virtfn%u", i);
		link_name(s->pf.bdf, name, buf);
		must(t, name, buf[0] ? 0 : -ENODEV);
		snprintf(vf->bdf, sizeof(vf->bdf), "%.31s", buf);
		learn_group(t, vf);
		if (!strcmp(fn_driver(vf->bdf, buf), "vfio-pci"))
			continue;
		if (buf[0])
			must(t, "unbind-vf", fn_unbind(vf->bdf));
		must(t, "bind-vf", fn_bind(vf->bdf, "vfio-pci"));
	}
}

/* Without VFs and without a driver. */
static void sriov_clear(struct t *t, struct sriov *s)
{
	char driver[64];

	policy_write("enable_sriov", "Y");
	fn_write(s->pf.bdf, "sriov_drivers_autoprobe", "1");
	if (fn_number(s->pf.bdf, "sriov_numvfs") > 0) {
		if (!*fn_driver(s->pf.bdf, driver))
			must(t, "bind-stub", fn_bind(s->pf.bdf, "pci-pf-stub"));
		must(t, "no-vfs", sriov_set(s, 0));
	}
	if (*fn_driver(s->pf.bdf, driver))
		must(t, "unbind-pf", fn_unbind(s->pf.bdf));
}

void sriov_ready(struct t *t, struct sriov *s, enum pf_driver driver, unsigned n)
{
	memset(s, 0, sizeof(*s));
	need_host(t);
	snprintf(s->pf.bdf, sizeof(s->pf.bdf), "%s", t->f->bdf);
	s->total = (unsigned)fn_number(s->pf.bdf, "sriov_totalvfs");
	if (s->total < 2 || s->total < n)
		skip(t, "the device has too few virtual functions");
	learn_group(t, &s->pf);
	sriov_clear(t, s);
	switch (driver) {
	case PF_VFIO:
		must(t, "bind-pf", fn_bind(s->pf.bdf, "vfio-pci"));
		break;
	case PF_STUB:
		if (access(DRIVERS "/pci-pf-stub/bind", W_OK))
			skip(t, "there is no driver pci-pf-stub");
		must(t, "bind-pf", fn_bind(s->pf.bdf, "pci-pf-stub"));
		break;
	case PF_HOST:
		find_host_driver(s);
		if (!s->host[0])
			skip(t, "no driver of the host's takes the device");
		break;
	case PF_UNBOUND:
		break;
	}
	/* What else the host has for VFs is not to meddle. */
	if (driver != PF_VFIO)
		must(t, "autoprobe", fn_write(s->pf.bdf, "sriov_drivers_autoprobe", "0"));
	if (n)
		must(t, "numvfs", sriov_set(s, n));
	sriov_learn(t, s, n);
}

void need_own_groups(struct t *t, const struct sriov *s)
{
	if (s->vf[0].group == s->pf.group)
		skip(t, "the virtual functions share the group of their PF");
}

/* ---- opening --------------------------------------------------------------------------------- */

/* The groups that are open: functions may share one. */
static struct open_group {
	unsigned number, users;
	int container, group;
} groups[4];

static struct open_group *find_group(unsigned number)
{
	for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
		if (groups[i].users && groups[i].number == number)
			return &groups[i];
	}
	return NULL;
}

static struct open_group *get_group(struct t *t, const struct fn *fn)
{
	struct open_group *g = find_group(fn->group);
	struct facts f = {.group = fn->group};

	if (g) {
		g->users++;
		return g;
	}
	for (g = groups; g->users; g++)
		must(t, "groups", g < groups + ARRAY_LEN(groups) - 1 ? 0 : -ENFILE);
	g->container = open_container();
	must(t, "open-container", sys(g->container));
	g->group = open_group(&f);
	must(t, "open-group", sys(g->group));
	must(t, "set-container", set_container(g->group, g->container));
	must(t, "set-iommu", sys(ioctl(g->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU)));
	g->number = fn->group;
	g->users = 1;
	return g;
}

static void put_group(struct open_group *g)
{
	if (--g->users)
		return;
	close(g->group);
	close(g->container);
}

int fn_group(struct t *t, const struct fn *fn)
{
	return get_group(t, fn)->group;
}

long fn_open_string(struct t *t, const struct fn *fn, const char *rest)
{
	struct open_group *g = get_group(t, fn);
	char name[512];
	long dev;

	snprintf(name, sizeof(name), "%s%s", fn->bdf, rest);
	dev = get_device(g->group, name);
	if (dev < 0)
		put_group(g);
	return dev;
}

void token_bytes(const char *token, uint8_t bytes[16])
{
	unsigned value;

	for (int i = 0; i < 16; i++) {
		if (*token == '-')
			token++;
		sscanf(token, "%2x", &value);
		bytes[i] = (uint8_t)value;
		token += 2;
	}
}

static long open_by_node(struct t *t, const struct fn *fn, const char *token)
{
	uint8_t bytes[16];
	struct vfio_cdev_bind bind = {.argsz = sizeof(bind), .flags = token ? 1 : 0};
	struct facts f = {0};
	int node;
	long rc;

	snprintf(f.bdf, sizeof(f.bdf), "%s", fn->bdf);
	if (t->container < 0)
		t->container = open_iommu(t);
	node = open_node(t, &f);
	if (token)
		token_bytes(token, bytes);
	bind.iommufd = t->container;
	bind.token = (uintptr_t)bytes;
	rc = call(node, VFIO_CDEV_BIND, &bind);
	if (!rc)
		return node;
	close(node);
	return rc;
}

long fn_open(struct t *t, enum way way, const struct fn *fn, const char *token)
{
	char rest[64] = "";

	if (way == BY_NODE)
		return open_by_node(t, fn, token);
	if (token)
		snprintf(rest, sizeof(rest), " vf_token=%s", token);
	return fn_open_string(t, fn, rest);
}

void fn_close(const struct fn *fn, int dev)
{
	struct open_group *g = find_group(fn->group);

	close(dev);
	if (g)
		put_group(g);
}

long fn_try(struct t *t, enum way way, const struct fn *fn, const char *token)
{
	long dev = fn_open(t, way, fn, token);

	if (dev < 0)
		return dev;
	fn_close(fn, (int)dev);
	return 0;
}

long set_token(int dev, const char *token)
{
	struct {
		uint32_t argsz, flags;
		uint8_t token[16];
	} arg = {.argsz = sizeof(arg), .flags = VFIO_DEVICE_FEATURE_SET};

	token_bytes(token, arg.token);
	return call(dev, VFIO_DEVICE_FEATURE, &arg);
}

void fn_facts(struct t *t, const struct fn *fn, int dev, struct facts *f)
{
	memset(f, 0, sizeof(*f));
	snprintf(f->bdf, sizeof(f->bdf), "%s", fn->bdf);
	f->group = fn->group;
	must(t, "facts", facts_ask(dev, f));
	t->f = f;
	t->dev = dev;
}
