// SPDX-License-Identifier: BSD-3-Clause
/* D.3: several devices in an iommufd, of one group and of two; and what they have pinned. */
#include <sys/resource.h>
#include "d3.h"

/* A second device's node, bound to @iommufd. */
static int bound(struct t *t, const struct facts *f, int iommufd, uint32_t *id)
{
	int node = open_node(t, f);

	must(t, "bind-second", bind_node(node, iommufd, id));
	return node;
}

/* ---- one group ---- */

static void siblings_bind(struct t *t)
{
	int elsewhere = open_iommu(t), second;
	uint32_t id;
	struct d3 d;

	open_bound(t, &d);
	second = open_node(t, t->sibling);
	see(t, "elsewhere", bind_node(second, elsewhere, &id), -EPERM);
	see(t, "same", bind_node(second, t->container, &id), 0);
	see_bool(t, "own-id", id != d.dev, true);
	close(t->dev);
	t->dev = open_node(t, t->f);
	see(t, "elsewhere", bind_node(t->dev, elsewhere, &id), -EPERM);
	close(second);
	see(t, "all-closed", bind_node(t->dev, elsewhere, &id), 0);
}

/* What is attached is attached as one. */
static void siblings_attach(struct t *t)
{
	uint32_t a, b, c, id;
	int second;
	struct d3 d;

	open_attached(t, &d);
	second = bound(t, t->sibling, t->container, &id);
	b = new_ioas(t);
	see(t, "other-ioas", attach(second, &b), -EINVAL);
	see(t, "same-ioas", (a = d.ioas, attach(second, &a)), 0);
	see_bool(t, "same-hwpt", a == d.hwpt, true);
	see(t, "replace", (c = b, attach(t->dev, &c)), 0);
	see(t, "old-hwpt", destroy(t, d.hwpt), -ENOENT);
	see(t, "old-ioas", destroy(t, d.ioas), 0);
	see(t, "moved-with-it", (a = b, attach(second, &a)), 0);
	see_bool(t, "same-hwpt", a == c, true);
	see(t, "detach", detach(t->dev), 0);
	see(t, "hwpt-of-second", destroy(t, c), -EBUSY);
	see(t, "detach-second", detach(second), 0);
	see(t, "hwpt-went", destroy(t, c), -ENOENT);
	see(t, "ioas", destroy(t, b), 0);
}

static void siblings_hot_reset(struct t *t)
{
	struct {
		struct vfio_pci_hot_reset_info info;
		struct vfio_pci_dependent_device devices[32];
	} get = {.info = {.argsz = sizeof(get)}};
	struct vfio_pci_hot_reset reset = {.argsz = sizeof(reset)};
	unsigned own = 0, implied = 0, others = 0, of_second = 0;
	uint32_t id;
	struct d3 d;

	open_bound(t, &d);
	see(t, "info", call(t->dev, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &get), 0);
	for (uint32_t i = 0; i < get.info.count && i < 32; i++) {
		own += get.devices[i].group_id == d.dev;
		implied += !get.devices[i].group_id;
		others += (int32_t)get.devices[i].group_id == -1;
	}
	see(t, "own", own, 1);
	see_bool(t, "implied", implied > 0, true);
	see(t, "not-owned", others, 0);
	see_hex(t, "flags", get.info.flags, 3);
	bound(t, t->sibling, t->container, &id);
	get.info.argsz = sizeof(get);
	see(t, "info", call(t->dev, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &get), 0);
	for (uint32_t i = 0; i < get.info.count && i < 32; i++)
		of_second += get.devices[i].group_id == id;
	see(t, "second-by-its-id", of_second, 1);
	see(t, "reset", call(t->dev, VFIO_DEVICE_PCI_HOT_RESET, &reset), 0);
}

/* ---- two groups ---- */

static void two_groups(struct t *t)
{
	uint32_t a, id, ioas;
	int second;
	struct d3 d;

	open_attached(t, &d);
	second = bound(t, t->other, t->container, &id);
	see(t, "same-ioas", (a = d.ioas, attach(second, &a)), 0);
	see_bool(t, "same-hwpt", a == d.hwpt, true);
	see(t, "detach", detach(t->dev), 0);
	see(t, "hwpt-of-second", destroy(t, a), -EBUSY);
	ioas = new_ioas(t);
	see(t, "other-ioas", (id = ioas, attach(t->dev, &id)), 0);
	see_bool(t, "same-hwpt", id == a, false);
	see(t, "detach-second", detach(second), 0);
	see(t, "hwpt-went", destroy(t, a), -ENOENT);
	close(second);
	second = open_node(t, t->other);
	see(t, "other-iommufd", bind_node(second, open_iommu(t), &id), 0);
}

/* ---- locked memory ---- */

static void locked_memory(struct t *t)
{
	struct rlimit limit = {4 * PAGE, 4 * PAGE};
	const uint64_t base = t->f->iova_first;
	char *p = new_pages(t, 8);
	uint64_t n = 4 * PAGE;
	struct d3 d;

	open_attached(t, &d);
	must(t, "limit", sys(setrlimit(RLIMIT_MEMLOCK, &limit)));
	if (!drop_ipc_lock())
		skip(t, "cannot drop CAP_IPC_LOCK");
	see(t, "more", map_fixed(t, d.ioas, base, p, 8 * PAGE, READ), -ENOMEM);
	see(t, "all", map_fixed(t, d.ioas, base, p, 4 * PAGE, READ), 0);
	see(t, "same-again", map_fixed(t, d.ioas, base + 8 * PAGE, p, PAGE, READ), -ENOMEM);
	see(t, "unmap", unmap(t, d.ioas, base, &n), 0);
	see(t, "refunded", map_fixed(t, d.ioas, base, p + 4 * PAGE, 4 * PAGE, READ), 0);
}

/* ---- BIND where interrupts are not isolated (F) ---- */

static void refused(struct t *t)
{
	uint32_t id;

	if (access("/dev/iommu", F_OK) || access("/dev/vfio/devices", F_OK))
		skip(t, "there is no /dev/iommu, or no node of the device");
	t->container = open_iommu(t);
	t->dev = open_node(t, t->f);
	see(t, "bind", bind_node(t->dev, t->container, &id), -EPERM);
	see(t, "closed-first", bind_node(t->dev, 999, &id), -EBADF);
	t->group = open_group(t->f);
	see(t, "group-is-free", t->group < 0 ? -errno : 0, 0);
}

static const struct rule rules[] = {
	{"D.3/siblings/bind", OPEN_NOTHING, NEED_IOMMUFD | NEED_SIBLING, siblings_bind},
	{"D.3/siblings/attach", OPEN_NOTHING, NEED_IOMMUFD | NEED_SIBLING, siblings_attach},
	{"D.3/siblings/hot-reset", OPEN_NOTHING, NEED_IOMMUFD | NEED_SIBLING | NEED_HOT,
	 siblings_hot_reset},
	{"D.3/two-groups/attach", OPEN_NOTHING, NEED_IOMMUFD | NEED_OTHER, two_groups},
	{"D.3/MAP/locked-memory", OPEN_NOTHING, NEED_IOMMUFD, locked_memory},
	{"F.1/bind/refused", OPEN_NOTHING, NEED_REFUSED, refused},
};
const struct section section_d3_groups = SECTION("D.3", rules);
