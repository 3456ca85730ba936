// SPDX-License-Identifier: BSD-3-Clause
/* B: the vectors that a PF's driver shares out to its VFs. */
#include <fcntl.h>
#include "d3.h"
#include "sriov.h"

static long set_count(const struct fn *vf, long n)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", n);
	return fn_write(vf->bdf, "sriov_vf_msix_count", text);
}

/* What the VF's hardware says that its table has. */
static long table_size(struct t *t, const struct fn *vf)
{
	struct facts f = {0};
	char path[128];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", vf->bdf);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	must(t, "config", sys(fd));
	n = read(fd, f.config, sizeof(f.config));
	close(fd);
	must(t, "config", n >= 256 ? 0 : -EIO);
	f.msix = facts_cap(&f, 0x11);
	if (!f.msix)
		skip(t, "the virtual function has no MSI-X");
	return (facts_get(&f, f.msix + 2, 2) & 0x7ff) + 1;
}

/* ---- sriov_vf_total_msix --------------------------------------------------------------------- */

static void total(struct t *t)
{
	const enum pf_driver *driver = t->rule->arg;
	struct sriov s;

	sriov_ready(t, &s, *driver, 0);
	see(t, "total", fn_number(s.pf.bdf, "sriov_vf_total_msix"), 0);
	see(t, "write", fn_write(s.pf.bdf, "sriov_vf_total_msix", "1"), -EACCES);
}

/* ---- sriov_vf_msix_count: the order of what is looked at ------------------------------------- */

struct text {
	const char *text;
	int want; /* of a PF whose driver has no pool, the VF being bound */
};

static void count_text(struct t *t)
{
	const struct text *text = t->rule->arg;
	struct sriov s;

	sriov_ready(t, &s, PF_VFIO, 1);
	see(t, "rc", fn_write(s.vf[0].bdf, "sriov_vf_msix_count", text->text), text->want);
	must(t, "unbind-vf", fn_unbind(s.vf[0].bdf));
	see(t, "unbound", fn_write(s.vf[0].bdf, "sriov_vf_msix_count", text->text), text->want);
}

#define TEXT(n, ...)                                                                               \
	{                                                                                          \
		"B.1/count/" n, OPEN_NOTHING, NEED_IOMMU, count_text, &(const struct text)         \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}

static void count_is_written(struct t *t)
{
	char path[128];
	struct sriov s;
	int fd;

	sriov_ready(t, &s, PF_VFIO, 1);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/sriov_vf_msix_count", s.vf[0].bdf);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	see(t, "open-for-reading", sys(fd) < 0 ? -errno : 0, -EACCES);
}

static void without_pool(struct t *t)
{
	const enum pf_driver *driver = t->rule->arg;
	struct sriov s;
	long before;

	sriov_ready(t, &s, *driver, 1);
	before = table_size(t, &s.vf[0]);
	see(t, "bound", set_count(&s.vf[0], 1), -EOPNOTSUPP);
	must(t, "unbind-vf", fn_unbind(s.vf[0].bdf));
	see(t, "unbound", set_count(&s.vf[0], 1), -EOPNOTSUPP);
	see(t, "default", set_count(&s.vf[0], 0), -EOPNOTSUPP);
	see(t, "negative", set_count(&s.vf[0], -1), -EINVAL);
	see_as(t, "table", table_size(t, &s.vf[0]), before, "as-before");
}

/* Nobody has the PF any more. */
static void pf_unbound(struct t *t)
{
	struct sriov s;

	sriov_ready(t, &s, PF_STUB, 1);
	must(t, "unbind-pf", fn_unbind(s.pf.bdf));
	see(t, "total", fn_number(s.pf.bdf, "sriov_vf_total_msix"), 0);
	see(t, "bound", set_count(&s.vf[0], 1), -EOPNOTSUPP);
	must(t, "unbind-vf", fn_unbind(s.vf[0].bdf));
	see(t, "unbound", set_count(&s.vf[0], 1), -EOPNOTSUPP);
}

/* ---- a pool ---------------------------------------------------------------------------------- */

/* The PF with the host's driver, which has a pool, and two VFs without a driver. */
static long pool(struct t *t, struct sriov *s)
{
	long size;

	sriov_ready(t, s, PF_HOST, 2);
	size = fn_number(s->pf.bdf, "sriov_vf_total_msix");
	if (size <= 0)
		skip(t, "the host's driver of the device has no pool of vectors");
	must(t, "unbind-vf", fn_unbind(s->vf[0].bdf));
	must(t, "unbind-vf", fn_unbind(s->vf[1].bdf));
	return size;
}

static void pool_order(struct t *t)
{
	struct sriov s;
	long before;

	pool(t, &s);
	before = table_size(t, &s.vf[0]);
	must(t, "bind-vf", fn_bind(s.vf[0].bdf, "vfio-pci"));
	see(t, "unparsable", fn_write(s.vf[0].bdf, "sriov_vf_msix_count", "x"), -EINVAL);
	see(t, "negative", set_count(&s.vf[0], -1), -EINVAL);
	see(t, "bound", set_count(&s.vf[0], before), -EBUSY);
	see(t, "bound-too-many", set_count(&s.vf[0], 4096), -EBUSY);
	see(t, "bound-default", set_count(&s.vf[0], 0), -EBUSY);
	see(t, "other", set_count(&s.vf[1], before), 0);
	must(t, "unbind-vf", fn_unbind(s.vf[0].bdf));
	see(t, "too-many", set_count(&s.vf[0], 4096), -EOVERFLOW);
	see(t, "most", set_count(&s.vf[0], 2147483647), -EOVERFLOW);
	see_as(t, "table", table_size(t, &s.vf[0]), before, "as-before");
	see(t, "same", set_count(&s.vf[0], before), 0);
}

/* One fewer: at once, without a reset, and the other VF keeps its own. */
static void pool_changes(struct t *t)
{
	struct sriov s;
	long size = pool(t, &s), n = table_size(t, &s.vf[0]), other = table_size(t, &s.vf[1]);

	if (n < 2)
		skip(t, "a virtual function has one vector alone");
	see(t, "less", set_count(&s.vf[0], n - 1), 0);
	see_as(t, "table", table_size(t, &s.vf[0]), n - 1, "less");
	see_as(t, "other-table", table_size(t, &s.vf[1]), other, "as-before");
	see_as(t, "total", fn_number(s.pf.bdf, "sriov_vf_total_msix"), size, "as-before");
	see(t, "default", set_count(&s.vf[0], 0), 0);
	see_as(t, "table", table_size(t, &s.vf[0]), n, "default");
}

/* All that there are for one, and there are none for the other: it keeps what it has. */
static void pool_exhausted(struct t *t)
{
	struct sriov s;
	long size = pool(t, &s), other = table_size(t, &s.vf[1]), n, rc = 0;

	for (n = size - other; n > 0 && (rc = set_count(&s.vf[0], n)); n--)
		;
	see(t, "most", rc, 0);
	if (n != size - other)
		skip(t, "one virtual function cannot have the pool's rest");
	rc = set_count(&s.vf[0], n + 1);
	if (rc == -EOVERFLOW)
		skip(t, "one virtual function cannot have more than the pool's rest");
	see(t, "one-more", rc, -ENOSPC);
	see_as(t, "table", table_size(t, &s.vf[0]), n, "the-rest");
	see(t, "other-more", set_count(&s.vf[1], other + 1), -ENOSPC);
	see_as(t, "other-table", table_size(t, &s.vf[1]), other, "as-before");
}

/* What a user finds, and may ask for. */
static void pool_user(struct t *t)
{
	const uint32_t set = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
	int32_t fds[8];
	struct facts f;
	struct sriov s;
	long n, dev;

	pool(t, &s);
	n = table_size(t, &s.vf[0]) - 1;
	if (n < 1 || n > 7)
		skip(t, "a virtual function has one vector alone, or too many for this case");
	must(t, "count", set_count(&s.vf[0], n));
	must(t, "bind-vf", fn_bind(s.vf[0].bdf, "vfio-pci"));
	for (int i = 0; i < 2; i++) {
		dev = fn_open(t, BY_GROUP, &s.vf[0], NULL);
		must(t, "vf", dev);
		fn_facts(t, &s.vf[0], (int)dev, &f);
		see_as(t, "vectors", irq_count(t, VFIO_PCI_MSIX_IRQ_INDEX), n, "less");
		see_as(t, "table", (cfg_read(t, f.msix + 2, 2) & 0x7ff) + 1, n, "less");
		for (size_t k = 0; k < ARRAY_LEN(fds); k++)
			fds[k] = new_eventfd(t);
		see(t, "more", set_irqs(t, VFIO_PCI_MSIX_IRQ_INDEX, set, 0, (uint32_t)n + 1, fds),
		    -EINVAL);
		see(t, "behind", set_irqs(t, VFIO_PCI_MSIX_IRQ_INDEX, set, (uint32_t)n, 1, fds),
		    -EINVAL);
		see(t, "all", set_irqs(t, VFIO_PCI_MSIX_IRQ_INDEX, set, 0, (uint32_t)n, fds), 0);
		see(t, "reset", sys(ioctl((int)dev, VFIO_DEVICE_RESET)), 0);
		see_as(t, "after-reset", irq_count(t, VFIO_PCI_MSIX_IRQ_INDEX), n, "less");
		fn_close(&s.vf[0], (int)dev);
	}
	must(t, "unbind-vf", fn_unbind(s.vf[0].bdf));
	see_as(t, "after-close", table_size(t, &s.vf[0]), n, "less");
}

/* It goes with the VF. */
static void pool_new_vfs(struct t *t)
{
	struct sriov s;
	long n;

	pool(t, &s);
	n = table_size(t, &s.vf[0]);
	if (n < 2)
		skip(t, "a virtual function has one vector alone");
	must(t, "count", set_count(&s.vf[0], n - 1));
	must(t, "off", sriov_set(&s, 0));
	must(t, "on", sriov_set(&s, 2));
	sriov_learn(t, &s, 2);
	see_as(t, "table", table_size(t, &s.vf[0]), n, "default");
}

static const enum pf_driver vfio = PF_VFIO, stub = PF_STUB, unbound = PF_UNBOUND;

static const struct rule rules[] = {
	{"B.1/total/vfio", OPEN_NOTHING, NEED_IOMMU, total, &vfio},
	{"B.1/total/stub", OPEN_NOTHING, NEED_IOMMU, total, &stub},
	{"B.1/total/unbound", OPEN_NOTHING, NEED_IOMMU, total, &unbound},
	TEXT("zero", "0", -EOPNOTSUPP),
	TEXT("one", "1", -EOPNOTSUPP),
	TEXT("newline", "1\n", -EOPNOTSUPP),
	TEXT("hex", "0x10", -EOPNOTSUPP),
	TEXT("octal", "010", -EOPNOTSUPP),
	TEXT("plus", "+1", -EOPNOTSUPP),
	TEXT("most", "2147483647", -EOPNOTSUPP),
	TEXT("beyond-31-bits", "2147483648", -EINVAL),
	TEXT("beyond-64-bits", "18446744073709551617", -EINVAL),
	TEXT("word", "x", -EINVAL),
	TEXT("newline-alone", "\n", -EINVAL),
	TEXT("negative", "-1", -EINVAL),
	TEXT("space-before", " 1", -EINVAL),
	TEXT("space-behind", "1 ", -EINVAL),
	TEXT("word-behind", "1x", -EINVAL),
	TEXT("octal-wrong", "09", -EINVAL),
	{"B.1/count/cannot-be-read", OPEN_NOTHING, NEED_IOMMU, count_is_written},
	{"B.1/no-pool/vfio", OPEN_NOTHING, NEED_IOMMU, without_pool, &vfio},
	{"B.1/no-pool/stub", OPEN_NOTHING, NEED_IOMMU, without_pool, &stub},
	{"B.1/no-pool/pf-unbound", OPEN_NOTHING, NEED_IOMMU, pf_unbound},
	{"B.1/pool/order", OPEN_NOTHING, NEED_IOMMU, pool_order},
	{"B.1/pool/changes", OPEN_NOTHING, NEED_IOMMU, pool_changes},
	{"B.1/pool/exhausted", OPEN_NOTHING, NEED_IOMMU, pool_exhausted},
	{"B.1/pool/user", OPEN_NOTHING, NEED_IOMMU, pool_user},
	{"B.1/pool/new-vfs", OPEN_NOTHING, NEED_IOMMU, pool_new_vfs},
};
const struct section section_b1 = SECTION("B.1", rules);
