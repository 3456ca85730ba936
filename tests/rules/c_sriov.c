// SPDX-License-Identifier: BSD-3-Clause
/* C, A.2, A.5, A.7: VFs are made and taken away, and what a PF does to them. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include "d3.h"
#include "sriov.h"

static long set_text(const struct sriov *s, const char *text)
{
	return fn_write(s->pf.bdf, "sriov_numvfs", text);
}

static long numvfs(const struct sriov *s)
{
	return fn_number(s->pf.bdf, "sriov_numvfs");
}

/* ---- sriov_numvfs ---------------------------------------------------------------------------- */

struct text {
	const char *text;
	int want;
	int numvfs;
};

static void numvfs_text(struct t *t)
{
	const struct text *text = t->rule->arg;
	struct sriov s;

	sriov_ready(t, &s, PF_VFIO, 0);
	see(t, "rc", set_text(&s, text->text), text->want);
	see(t, "numvfs", numvfs(&s), text->numvfs);
}

#define TEXT(n, ...)                                                                               \
	{                                                                                          \
		"C.4/numvfs/" n, OPEN_NOTHING, NEED_IOMMU, numvfs_text, &(const struct text)       \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}

static void totals(struct t *t)
{
	struct sriov s;

	sriov_ready(t, &s, PF_VFIO, 0);
	see(t, "one-more", sriov_set(&s, s.total + 1), -ERANGE);
	see(t, "most", sriov_set(&s, s.total), 0);
	see_as(t, "numvfs", numvfs(&s), s.total, "all");
	see(t, "most-again", sriov_set(&s, s.total), 0);
	see(t, "one-less", sriov_set(&s, s.total - 1), -EBUSY);
	see(t, "one-more", sriov_set(&s, s.total + 1), -ERANGE);
	see(t, "unparsable", set_text(&s, "x"), -EINVAL);
	see_as(t, "numvfs", numvfs(&s), s.total, "all");
	see(t, "none", sriov_set(&s, 0), 0);
	see(t, "none-again", sriov_set(&s, 0), 0);
	see(t, "numvfs", numvfs(&s), 0);
}

/* Who has the PF, and what it then says. */
static void by_driver(struct t *t)
{
	struct sriov s;

	sriov_ready(t, &s, PF_UNBOUND, 0);
	see(t, "unbound", sriov_set(&s, 1), -ENOENT);
	see(t, "unbound-same", sriov_set(&s, 0), 0);
	see(t, "unbound-unparsable", set_text(&s, "x"), -EINVAL);
	see(t, "unbound-too-many", sriov_set(&s, s.total + 1), -ERANGE);

	must(t, "parameter", policy_write("enable_sriov", "N"));
	must(t, "bind", fn_bind(s.pf.bdf, "vfio-pci"));
	see(t, "off", sriov_set(&s, 1), -ENOENT);
	see(t, "off-same", sriov_set(&s, 0), 0);
	see(t, "off-unparsable", set_text(&s, "x"), -EINVAL);
	see(t, "off-too-many", sriov_set(&s, s.total + 1), -ERANGE);

	/* It is looked at when VFs are made or taken away, not at bind. */
	must(t, "parameter", policy_write("enable_sriov", "Y"));
	see(t, "on", sriov_set(&s, 1), 0);
	must(t, "parameter", policy_write("enable_sriov", "N"));
	see(t, "off-same", sriov_set(&s, 1), 0);
	see(t, "off-other", sriov_set(&s, 2), -EBUSY);
	see(t, "off-none", sriov_set(&s, 0), -ENOENT);
	see(t, "numvfs", numvfs(&s), 1);
	must(t, "parameter", policy_write("enable_sriov", "Y"));
	see(t, "none", sriov_set(&s, 0), 0);
}

static void by_stub(struct t *t)
{
	struct sriov s;

	sriov_ready(t, &s, PF_STUB, 0);
	must(t, "parameter", policy_write("enable_sriov", "N"));
	see(t, "too-many", sriov_set(&s, s.total + 1), -ERANGE);
	see(t, "one", sriov_set(&s, 1), 0);
	see(t, "two", sriov_set(&s, 2), -EBUSY);
	see(t, "unbind", fn_unbind(s.pf.bdf), 0);
	/* They stay, and nobody can take them away now. */
	see(t, "numvfs", numvfs(&s), 1);
	see(t, "same", sriov_set(&s, 1), 0);
	see(t, "two", sriov_set(&s, 2), -ENOENT);
	see(t, "none", sriov_set(&s, 0), -ENOENT);
	see(t, "bind-vfio", fn_bind(s.pf.bdf, "vfio-pci"), -EBUSY);
	see(t, "bind-stub", fn_bind(s.pf.bdf, "pci-pf-stub"), 0);
	see(t, "none", sriov_set(&s, 0), 0);
}

static void by_host_driver(struct t *t)
{
	char driver[64];
	struct sriov s;

	sriov_ready(t, &s, PF_HOST, 0);
	see(t, "too-many", sriov_set(&s, s.total + 1), -ERANGE);
	see(t, "one", sriov_set(&s, 1), 0);
	see(t, "numvfs", numvfs(&s), 1);
	see(t, "none", sriov_set(&s, 0), 0);
	see(t, "numvfs", numvfs(&s), 0);
	see_text(t, "driver", strcmp(fn_driver(s.pf.bdf, driver), s.host) ? driver : "same",
		 "same");
}

/* ---- what comes into being ------------------------------------------------------------------- */

static void files(struct t *t)
{
	char buf[64], name[32];
	struct sriov s;

	sriov_ready(t, &s, PF_VFIO, 2);
	see(t, "numvfs", numvfs(&s), 2);
	see_bool(t, "virtfn1", fn_has(s.pf.bdf, "virtfn1"), true);
	see_bool(t, "virtfn2", fn_has(s.pf.bdf, "virtfn2"), false);
	see_bool(t, "physfn", fn_has(s.vf[0].bdf, "physfn"), true);
	see_bool(t, "pf-physfn", fn_has(s.pf.bdf, "physfn"), false);
	snprintf(name, sizeof(name), "physfn/virtfn1/physfn/virtfn0");
	see_bool(t, "round", fn_has(s.vf[0].bdf, name), true);
	see_bool(t, "vf-numvfs", fn_has(s.vf[0].bdf, "sriov_numvfs"), false);
	see_bool(t, "vf-total-msix", fn_has(s.vf[0].bdf, "sriov_vf_total_msix"), false);
	see_bool(t, "pf-total-msix", fn_has(s.pf.bdf, "sriov_vf_total_msix"), true);
	see_bool(t, "vf-msix-count", fn_has(s.vf[0].bdf, "sriov_vf_msix_count"), true);
	see_bool(t, "pf-msix-count", fn_has(s.pf.bdf, "sriov_vf_msix_count"), false);
	see_text(t, "driver", fn_driver(s.vf[0].bdf, buf), "vfio-pci");
	see_text(t, "override", fn_read(s.vf[0].bdf, "driver_override", buf), "vfio-pci");
	see_bool(t, "vf-removable", fn_has(s.vf[0].bdf, "remove"), false);
	see(t, "none", sriov_set(&s, 0), 0);
	see_bool(t, "virtfn0", fn_has(s.pf.bdf, "virtfn0"), false);
	see_bool(t, "vf-there", fn_has(s.vf[0].bdf, "vendor"), false);
}

/* The address of VF i: that of the PF, the first one's offset, and i times the stride. */
static unsigned routing_id(const char *bdf)
{
	unsigned domain, bus, dev, fn;

	if (sscanf(bdf, "%x:%x:%x.%x", &domain, &bus, &dev, &fn) != 4)
		return 0;
	return bus << 8 | dev << 3 | fn;
}

static void addresses(struct t *t)
{
	unsigned pf, offset, stride;
	struct sriov s;

	sriov_ready(t, &s, PF_VFIO, 2);
	pf = routing_id(s.pf.bdf);
	offset = (unsigned)fn_number(s.pf.bdf, "sriov_offset");
	stride = (unsigned)fn_number(s.pf.bdf, "sriov_stride");
	see_as(t, "first", routing_id(s.vf[0].bdf), pf + offset, "offset");
	see_as(t, "second", routing_id(s.vf[1].bdf), pf + offset + stride, "offset+stride");
}

static void autoprobe_values(struct t *t)
{
	static const char *const texts[] = {"0", "1", "n", "y", "off", "on",
					    "N", "Y", "x", "",  "2"};
	static const int want[] = {0, 0, 0, 0, 0, 0, 0, 0, -EINVAL, -EINVAL, -EINVAL};
	char buf[64];
	struct sriov s;

	sriov_ready(t, &s, PF_VFIO, 0);
	see_text(t, "default", fn_read(s.pf.bdf, "sriov_drivers_autoprobe", buf), "1");
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		/* Nothing is written of a text without characters. */
		if (!*texts[i])
			continue;
		see(t, texts[i], fn_write(s.pf.bdf, "sriov_drivers_autoprobe", texts[i]), want[i]);
		if (!want[i])
			see_text(t, "reads", fn_read(s.pf.bdf, "sriov_drivers_autoprobe", buf),
				 strchr("1yYo", *texts[i]) && strcmp(texts[i], "off") ? "1" : "0");
	}
}

/* vfio-pci's PFs say whose their VFs are, whatever autoprobe says; others' do not. */
static void autoprobe_vfio(struct t *t)
{
	char buf[64], vf[64];
	struct sriov s;

	sriov_ready(t, &s, PF_VFIO, 0);
	must(t, "autoprobe", fn_write(s.pf.bdf, "sriov_drivers_autoprobe", "0"));
	must(t, "numvfs", sriov_set(&s, 1));
	snprintf(vf, sizeof(vf), "%s/virtfn0", s.pf.bdf);
	see_text(t, "override", fn_read(vf, "driver_override", buf), "vfio-pci");
	see_text(t, "driver", fn_driver(vf, buf), "vfio-pci");
}

static void autoprobe_stub(struct t *t)
{
	char buf[64];
	struct sriov s;

	sriov_ready(t, &s, PF_STUB, 0);
	must(t, "autoprobe", fn_write(s.pf.bdf, "sriov_drivers_autoprobe", "0"));
	must(t, "numvfs", sriov_set(&s, 1));
	see_bool(t, "bound", fn_has(s.pf.bdf, "virtfn0/driver"), false);
	see_text(t, "override", fn_read(s.pf.bdf, "virtfn0/driver_override", buf), "(null)");
	sriov_learn(t, &s, 1);
	see_text(t, "by-override", fn_driver(s.vf[0].bdf, buf), "vfio-pci");
}

/* The stub's PF is no VFIO's: a group that it is in cannot be used, until nobody has it. */
static void group_of_stub(struct t *t)
{
	struct vfio_group_status st = {.argsz = sizeof(st)};
	struct facts f;
	struct sriov s;

	sriov_ready(t, &s, PF_STUB, 1);
	if (s.vf[0].group != s.pf.group)
		skip(t, "the virtual functions have groups of their own");
	f = (struct facts){.group = s.vf[0].group};
	t->group = open_group(&f);
	must(t, "open-group", sys(t->group));
	t->container = open_container();
	must(t, "open-container", sys(t->container));
	see(t, "status", sys(ioctl(t->group, VFIO_GROUP_GET_STATUS, &st)), 0);
	see_hex(t, "flags", st.flags, 0);
	see(t, "set-container", set_container(t->group, t->container), -EPERM);
	see(t, "unbind-pf", fn_unbind(s.pf.bdf), 0);
	see(t, "status", sys(ioctl(t->group, VFIO_GROUP_GET_STATUS, &st)), 0);
	see_hex(t, "flags", st.flags, VFIO_GROUP_FLAGS_VIABLE);
	see(t, "set-container", set_container(t->group, t->container), 0);
	see(t, "bind-stub", fn_bind(s.pf.bdf, "pci-pf-stub"), -EBUSY);
}

/* ---- who has VFs open while they go ---------------------------------------------------------- */

/* A child that has the VF open, and closes it when it is asked to; "x" to @out then. */
static pid_t polite_user(struct t *t, struct sriov *s, int out)
{
	const uint32_t set = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
	pid_t pid = fork();
	int32_t fd;

	must(t, "fork", pid);
	if (pid)
		return pid;
	t->dev = (int)fn_open(t, BY_GROUP, &s->vf[0], TOKEN_A);
	must(t, "vf", t->dev);
	fd = new_eventfd(t);
	must(t, "request", set_irqs(t, VFIO_PCI_REQ_IRQ_INDEX, set, 0, 1, &fd));
	if (write(out, "r", 1) != 1)
		_exit(1);
	if (take(fd, 30000) && write(out, "x", 1) == 1)
		_exit(0);
	_exit(1);
}

/* @act, while a VF is open whose user closes it when it is asked. */
static void with_user(struct t *t, long (*act)(struct sriov *s))
{
	char byte = 0;
	struct sriov s;
	int out[2], status = 0;
	pid_t pid;

	sriov_ready(t, &s, PF_VFIO, 2);
	must(t, "choose-token", fn_try(t, BY_GROUP, &s.pf, TOKEN_A));
	must(t, "pipe", sys(pipe(out)));
	pid = polite_user(t, &s, out[1]);
	close(out[1]);
	must(t, "user", read(out[0], &byte, 1) == 1 && byte == 'r' ? 0 : -EIO);
	see(t, "rc", act(&s), 0);
	see_bool(t, "asked", read(out[0], &byte, 1) == 1 && byte == 'x', true);
	waitpid(pid, &status, 0);
	see_bool(t, "vf-there", fn_has(s.vf[0].bdf, "vendor"), false);
	see(t, "numvfs", numvfs(&s), 0);
}

static long turn_off(struct sriov *s)
{
	return sriov_set(s, 0);
}

static long unbind_pf(struct sriov *s)
{
	return fn_unbind(s->pf.bdf);
}

static void off_in_use(struct t *t)
{
	with_user(t, turn_off);
}

static void unbind_in_use(struct t *t)
{
	with_user(t, unbind_pf);
}

/* Closing the PF, or its user's end, takes nothing away. */
static void pf_closes(struct t *t)
{
	struct sriov s;
	long pf, vf;

	sriov_ready(t, &s, PF_VFIO, 0);
	pf = fn_open(t, BY_GROUP, &s.pf, TOKEN_A);
	must(t, "pf", pf);
	see(t, "on-while-open", sriov_set(&s, 1), 0);
	sriov_learn(t, &s, 1);
	vf = fn_open(t, BY_GROUP, &s.vf[0], TOKEN_A);
	must(t, "vf", vf);
	fn_close(&s.pf, (int)pf);
	see(t, "numvfs", numvfs(&s), 1);
	t->dev = (int)vf;
	see_bool(t, "vf-ids", cfg_read(t, 0, 2) == facts_get(t->f, 0, 2), true);
	fn_close(&s.vf[0], (int)vf);
	see(t, "off-while-closed", sriov_set(&s, 0), 0);
}

/* ---- resets and power ------------------------------------------------------------------------ */

/* Both open; t->dev is the PF's, the VF's is returned. */
static int both(struct t *t, struct sriov *s)
{
	long vf;

	sriov_ready(t, s, PF_VFIO, 2);
	t->dev = (int)fn_open(t, BY_GROUP, &s->pf, TOKEN_A);
	must(t, "pf", t->dev);
	vf = fn_open(t, BY_GROUP, &s->vf[0], TOKEN_A);
	must(t, "vf", vf);
	return (int)vf;
}

static uint32_t on(struct t *t, int dev, unsigned off, unsigned size)
{
	struct t other = *t;

	other.dev = dev;
	return cfg_read(&other, off, size);
}

static void put(struct t *t, int dev, unsigned off, unsigned size, uint32_t value)
{
	struct t other = *t;

	other.dev = dev;
	cfg_write(&other, off, size, value);
}

/* A VF's reset is its own. */
static void vf_reset(struct t *t)
{
	struct sriov s;
	long second;
	int vf = both(t, &s);

	second = fn_open(t, BY_GROUP, &s.vf[1], TOKEN_A);
	must(t, "second", second);
	put(t, t->dev, 4, 2, 6);
	put(t, vf, 4, 2, 4);
	put(t, (int)second, 4, 2, 4);
	see(t, "rc", sys(ioctl(vf, VFIO_DEVICE_RESET)), 0);
	see_hex(t, "command", on(t, vf, 4, 2) & 6, 4);
	see_hex(t, "pf-command", on(t, t->dev, 4, 2) & 6, 6);
	see_hex(t, "second-command", on(t, (int)second, 4, 2) & 6, 4);
	see(t, "numvfs", numvfs(&s), 2);
}

/* A PF's resets VFs, too, and they are there again. */
static void pf_reset(struct t *t)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	struct sriov s;
	int vf = both(t, &s);

	see(t, "rc", sys(ioctl(t->dev, VFIO_DEVICE_RESET)), 0);
	see(t, "numvfs", numvfs(&s), 2);
	see(t, "vf-info", call(vf, VFIO_DEVICE_GET_INFO, &info), 0);
	see_bool(t, "vf-ids", on(t, vf, 0, 2) == facts_get(t->f, 0, 2), true);
	see(t, "vf-reset", sys(ioctl(vf, VFIO_DEVICE_RESET)), 0);
	fn_close(&s.vf[0], vf);
	see(t, "vf-again", fn_try(t, BY_GROUP, &s.vf[0], TOKEN_A), 0);
	see(t, "vf-wrong", fn_try(t, BY_GROUP, &s.vf[0], TOKEN_B), -EACCES);
}

/* Neither slot nor bus can be reset by one of them: the others are not its user's. */
static long hot_reset(struct t *t, const struct fn *fn, int dev)
{
	struct {
		struct vfio_pci_hot_reset head;
		int32_t fds[1];
	} arg = {.head = {.argsz = sizeof(arg), .count = 1}, .fds = {fn_group(t, fn)}};

	return sys(ioctl(dev, VFIO_DEVICE_PCI_HOT_RESET, &arg));
}

static void hot_resets(struct t *t)
{
	struct {
		struct vfio_pci_hot_reset_info head;
		struct vfio_pci_dependent_device devices[64];
	} info = {.head.argsz = sizeof(info)};
	struct sriov s;
	int vf = both(t, &s);

	see(t, "vf", hot_reset(t, &s.vf[0], vf), -EINVAL);
	see(t, "pf", hot_reset(t, &s.pf, t->dev), -EINVAL);
	see(t, "info", sys(ioctl(t->dev, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &info)), 0);
	see_as(t, "count", info.head.count, 3, "pf-and-vfs");
}

static unsigned power(struct t *t)
{
	return cfg_read(t, t->f->pm + 4, 2) & 3;
}

/* Its state stays D0 while it has VFs. */
static void pf_power(struct t *t)
{
	struct sriov s;

	both(t, &s);
	set_power(t, 3);
	see(t, "with-vfs", power(t), 0);
}

static void pf_power_at_enable(struct t *t)
{
	struct sriov s;

	sriov_ready(t, &s, PF_VFIO, 0);
	t->dev = (int)fn_open(t, BY_GROUP, &s.pf, NULL);
	must(t, "pf", t->dev);
	set_power(t, 3);
	see(t, "without-vfs", power(t), 3);
	see(t, "on", sriov_set(&s, 1), 0);
	see(t, "then", power(t), 0);
	set_power(t, 3);
	see(t, "with-vfs", power(t), 0);
	see(t, "off", sriov_set(&s, 0), 0);
	set_power(t, 3);
	see(t, "without-vfs", power(t), 3);
}

/* ---- devices that are moved (E) ---- */

static long migration_set(int dev, uint32_t state)
{
	struct {
		struct vfio_device_feature head;
		uint32_t state;
		int32_t fd;
	} arg = {{sizeof(arg), VFIO_DEVICE_FEATURE_SET | 2}, state, -1};
	long ret = sys(ioctl(dev, VFIO_DEVICE_FEATURE, &arg));

	if (!ret && arg.fd >= 0)
		close(arg.fd);
	return ret;
}

static void needs_migration(struct t *t, int dev)
{
	struct vfio_device_feature arg = {sizeof(arg),
					  VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_SET | 2};

	if (sys(ioctl(dev, VFIO_DEVICE_FEATURE, &arg)))
		skip(t, "the device cannot be moved");
}

/* The numbers of E.2. */
enum { MIG_STOP = 1, MIG_RUNNING = 2, MIG_STOP_COPY = 3, MIG_RESUMING = 4 };

static void pf_moved(struct t *t)
{
	struct sriov s;

	sriov_ready(t, &s, PF_VFIO, 0);
	t->dev = (int)fn_open(t, BY_GROUP, &s.pf, NULL);
	must(t, "pf", t->dev);
	needs_migration(t, t->dev);
	see(t, "stop", migration_set(t->dev, MIG_STOP), 0);
	see(t, "on-stopped", sriov_set(&s, 1), -EBUSY);
	see(t, "copy", migration_set(t->dev, MIG_STOP_COPY), 0);
	see(t, "on-copied", sriov_set(&s, 1), -EBUSY);
	see(t, "off", sriov_set(&s, 0), 0);
	see(t, "run", migration_set(t->dev, MIG_RUNNING), 0);
	see(t, "on", sriov_set(&s, 1), 0);
	see(t, "stop-with-vfs", migration_set(t->dev, MIG_STOP), -EBUSY);
	see(t, "resume-with-vfs", migration_set(t->dev, MIG_RESUMING), -EBUSY);
	see(t, "run-with-vfs", migration_set(t->dev, MIG_RUNNING), 0);
	see(t, "none-with-vfs", migration_set(t->dev, 99), -EINVAL);
	see(t, "gone", sriov_set(&s, 0), 0);
	see(t, "stop-again", migration_set(t->dev, MIG_STOP), 0);
}

static void vf_moved(struct t *t)
{
	struct sriov s;
	int vf = both(t, &s);

	needs_migration(t, vf);
	see(t, "stop", migration_set(vf, MIG_STOP), 0);
	see(t, "run", migration_set(vf, MIG_RUNNING), 0);
	see(t, "copy", migration_set(vf, MIG_STOP_COPY), 0);
	/* Its PF's reset is its own. */
	see(t, "pf-reset", sys(ioctl(t->dev, VFIO_DEVICE_RESET)), 0);
	see(t, "resume", migration_set(vf, MIG_RESUMING), 0);
	see(t, "vf-reset", sys(ioctl(vf, VFIO_DEVICE_RESET)), 0);
	see(t, "stop-again", migration_set(vf, MIG_STOP), 0);
}

/* No user of VFIO's makes VFs: the capability cannot be written. */
static void not_by_config(struct t *t)
{
	unsigned cap = facts_ext_cap(t->f, 0x10);
	struct sriov s;

	sriov_ready(t, &s, PF_VFIO, 0);
	t->dev = (int)fn_open(t, BY_GROUP, &s.pf, NULL);
	must(t, "pf", t->dev);
	cfg_write(t, cap + 0x10, 2, 1);
	cfg_write(t, cap + 8, 2, 9);
	see_hex(t, "control", cfg_read(t, cap + 8, 2) & 1, 0);
	see(t, "number", cfg_read(t, cap + 0x10, 2), 0);
	see(t, "numvfs", numvfs(&s), 0);
	see(t, "on", sriov_set(&s, 1), 0);
	see_hex(t, "control", cfg_read(t, cap + 8, 2) & 9, 9);
	see(t, "number", cfg_read(t, cap + 0x10, 2), 1);
	cfg_write(t, cap + 8, 2, 0);
	see_hex(t, "control", cfg_read(t, cap + 8, 2) & 9, 9);
}

static const struct rule rules[] = {
	TEXT("one", "1", 0, 1),
	TEXT("newline", "1\n", 0, 1),
	TEXT("hex", "0x2", 0, 2),
	TEXT("octal", "02", 0, 2),
	TEXT("plus", "+1", 0, 1),
	TEXT("octal-wrong", "08", -EINVAL, 0),
	TEXT("word", "x", -EINVAL, 0),
	TEXT("newline-alone", "\n", -EINVAL, 0),
	TEXT("negative", "-1", -EINVAL, 0),
	TEXT("space-before", " 1", -EINVAL, 0),
	TEXT("space-behind", "1 ", -EINVAL, 0),
	TEXT("two-newlines", "1\n\n", -EINVAL, 0),
	TEXT("word-behind", "1x", -EINVAL, 0),
	TEXT("hex-empty", "0x", -EINVAL, 0),
	TEXT("most-of-16-bits", "65535", -ERANGE, 0),
	TEXT("beyond-16-bits", "65536", -EINVAL, 0),
	TEXT("beyond-64-bits", "18446744073709551617", -EINVAL, 0),
	{"C.4/numvfs/order", OPEN_NOTHING, NEED_IOMMU, totals},
	{"C.4/numvfs/driver", OPEN_NOTHING, NEED_IOMMU, by_driver},
	{"C.4/numvfs/stub", OPEN_NOTHING, NEED_IOMMU, by_stub},
	{"C.4/numvfs/host-driver", OPEN_NOTHING, NEED_IOMMU, by_host_driver},
	{"C.4/vf/files", OPEN_NOTHING, NEED_IOMMU, files},
	{"C.4/vf/addresses", OPEN_NOTHING, NEED_IOMMU, addresses},
	{"C.4/autoprobe/values", OPEN_NOTHING, NEED_IOMMU, autoprobe_values},
	{"C.4/autoprobe/vfio", OPEN_NOTHING, NEED_IOMMU, autoprobe_vfio},
	{"C.4/autoprobe/stub", OPEN_NOTHING, NEED_IOMMU, autoprobe_stub},
	{"C.4/group/stub", OPEN_NOTHING, NEED_IOMMU, group_of_stub},
	{"C.4/in-use/off", OPEN_NOTHING, NEED_IOMMU, off_in_use},
	{"C.4/in-use/unbind", OPEN_NOTHING, NEED_IOMMU, unbind_in_use},
	{"C.4/in-use/pf-closes", OPEN_NOTHING, NEED_IOMMU, pf_closes},
	{"C.4/reset/vf", OPEN_NOTHING, NEED_IOMMU | NEED_RESET, vf_reset},
	{"C.4/reset/pf", OPEN_NOTHING, NEED_IOMMU | NEED_RESET, pf_reset},
	{"C.4/reset/hot", OPEN_NOTHING, NEED_IOMMU | NEED_HOT, hot_resets},
	{"C.4/power/with-vfs", OPEN_NOTHING, NEED_IOMMU | NEED_PM, pf_power},
	{"C.4/power/enable", OPEN_NOTHING, NEED_IOMMU | NEED_PM, pf_power_at_enable},
	{"C.4/migration/pf", OPEN_NOTHING, NEED_IOMMU, pf_moved},
	{"C.4/migration/vf", OPEN_NOTHING, NEED_IOMMU | NEED_RESET, vf_moved},
	{"C.4/config", OPEN_NOTHING, NEED_IOMMU | NEED_SRIOV, not_by_config},
};
const struct section section_c4 = SECTION("C.4", rules);
