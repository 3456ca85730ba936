// SPDX-License-Identifier: BSD-3-Clause
/* A.1: which number means what on which kind of file, and the argsz protocol. */
#include "rules.h"

struct wrong_call {
	enum { ON_CONTAINER, ON_GROUP, ON_DEVICE } on;
	unsigned request;
	long want;
};

static void wrong_call(struct t *t)
{
	const struct wrong_call *call = t->rule->arg;
	int fd = call->on == ON_CONTAINER ? t->container : call->on == ON_GROUP ? t->group : t->dev;
	static char argument[256];

	see(t, "rc", sys(ioctl(fd, call->request, argument)), call->want);
}

static void api_version(struct t *t)
{
	see(t, "null", sys(ioctl(t->container, VFIO_GET_API_VERSION, NULL)), VFIO_API_VERSION);
	see(t, "garbage", sys(ioctl(t->container, VFIO_GET_API_VERSION, 0x12345)),
	    VFIO_API_VERSION);
}

/* A device from a group refuses to be bound; where there is no bound use at all, nobody knows the
 * call. */
static void bind_group_device(struct t *t)
{
	static uint32_t argument[64] = {sizeof(argument)};

	see(t, "rc", sys(ioctl(t->dev, VFIO_NR(18), argument)),
	    access("/dev/vfio/devices", F_OK) ? -ENOTTY : -EINVAL);
}

struct extension {
	int number;
	long want;
};

/* Number 6 was nesting once. */
static void extension_6(struct t *t)
{
	see(t, "rc", sys(ioctl(t->container, VFIO_CHECK_EXTENSION, 6)), !since(t, 7, 0));
}

static void extension(struct t *t)
{
	const struct extension *e = t->rule->arg;

	see(t, "rc", sys(ioctl(t->container, VFIO_CHECK_EXTENSION, e->number)), e->want);
}

/* GET_INFO with each argsz: how much comes back, and how much stays untouched. */
static void info_argsz(struct t *t)
{
	const uint32_t argsz = *(const uint32_t *)t->rule->arg;
	struct {
		struct vfio_device_info info;
		uint8_t room[4096];
	} u;
	const uint8_t *bytes = (const uint8_t *)&u;
	size_t untouched;
	long rc;

	memset(&u, 0xa5, sizeof(u));
	u.info.argsz = argsz;
	rc = sys(ioctl(t->dev, VFIO_DEVICE_GET_INFO, &u.info));
	see(t, "rc", rc, argsz < 16 ? -EINVAL : 0);
	if (rc)
		return;
	see(t, "regions", u.info.num_regions, VFIO_PCI_NUM_REGIONS);
	see(t, "irqs", u.info.num_irqs, VFIO_PCI_NUM_IRQS);
	see_true(t, "pci", u.info.flags & VFIO_DEVICE_FLAGS_PCI);
	for (untouched = sizeof(u); untouched && bytes[untouched - 1] == 0xa5; untouched--)
		;
	/* Without capabilities, no more than the argument and no more than the struct is written.
	 */
	if (!(u.info.flags & VFIO_DEVICE_FLAGS_CAPS)) {
		see_as(t, "written", (long)untouched, argsz < 24 ? argsz : 24, "min(argsz,24)");
		see_as(t, "argsz", u.info.argsz, argsz, "kept");
	}
}
static const uint32_t argsz_values[] = {0, 8, 15, 16, 20, 23, 24, 64, 4096, 0xffffffff};

static void info_page_end(struct t *t)
{
	struct vfio_device_info *info = at_page_end(t, 16);

	info->argsz = 16;
	see(t, "rc", sys(ioctl(t->dev, VFIO_DEVICE_GET_INFO, info)), 0);
	see(t, "irqs", info->num_irqs, VFIO_PCI_NUM_IRQS);
}

struct fault {
	enum { OF_CONTAINER, OF_GROUP, OF_DEVICE } of;
	unsigned request;
	size_t minsz;
};

/* One byte of the smallest form is not there. */
static void argument_fault(struct t *t)
{
	const struct fault *fault = t->rule->arg;
	int fd = fault->of == OF_CONTAINER ? t->container
		 : fault->of == OF_GROUP   ? t->group
					   : t->dev;

	see(t, "null", sys(ioctl(fd, fault->request, NULL)), -EFAULT);
	see(t, "one-byte-short", sys(ioctl(fd, fault->request, at_page_end(t, fault->minsz - 1))),
	    -EFAULT);
	/* argsz is 0 here: even then the whole smallest form is copied first. */
	see(t, "only-argsz", sys(ioctl(fd, fault->request, at_page_end(t, 4))), -EFAULT);
}

static void read_only_argument(struct t *t)
{
	struct vfio_device_info *info = new_pages(t, 1);

	memset(info, 0, PAGE);
	info->argsz = sizeof(*info);
	must(t, "mprotect", sys(mprotect(info, PAGE, PROT_READ)));
	see(t, "get-info", sys(ioctl(t->dev, VFIO_DEVICE_GET_INFO, info)), -EFAULT);
	see(t, "get-irq-info", sys(ioctl(t->dev, VFIO_DEVICE_GET_IRQ_INFO, info)), -EFAULT);
}

/* A chain that does not fit is announced, not written. */
static void region_chain(struct t *t)
{
	const struct facts *f = t->f;
	struct {
		struct vfio_region_info info;
		uint8_t room[4096];
	} u;
	const struct vfio_info_cap_header *cap;

	memset(&u, 0xa5, sizeof(u));
	u.info.argsz = sizeof(u.info);
	u.info.index = f->table_bar;
	see(t, "short", sys(ioctl(t->dev, VFIO_DEVICE_GET_REGION_INFO, &u.info)), 0);
	see_true(t, "caps", u.info.flags & VFIO_REGION_INFO_FLAG_CAPS);
	see(t, "cap-offset", u.info.cap_offset, 0);
	see_true(t, "argsz-grew", u.info.argsz > sizeof(u.info));
	see_true(t, "beyond-untouched", u.room[0] == 0xa5);
	if (u.info.argsz > sizeof(u))
		return;
	see(t, "full", sys(ioctl(t->dev, VFIO_DEVICE_GET_REGION_INFO, &u.info)), 0);
	see(t, "cap-offset", u.info.cap_offset, sizeof(u.info));
	cap = (const void *)((const char *)&u + u.info.cap_offset);
	see(t, "id", cap->id, VFIO_REGION_INFO_CAP_MSIX_MAPPABLE);
	see(t, "version", cap->version, 1);
	see(t, "next", cap->next, 0);
	see_true(t, "aligned", u.info.cap_offset % 8 == 0);
}

static void iommu_chain(struct t *t)
{
	struct {
		struct vfio_iommu_type1_info info;
		uint8_t room[4096];
	} u;
	const uint8_t *bytes = (const uint8_t *)&u;

	memset(&u, 0xa5, sizeof(u));
	u.info.argsz = 16;
	see(t, "rc16", sys(ioctl(t->container, VFIO_IOMMU_GET_INFO, &u.info)), 0);
	see_true(t, "caps", u.info.flags & VFIO_IOMMU_INFO_CAPS);
	see_true(t, "argsz-grew", u.info.argsz > sizeof(u.info));
	see_true(t, "beyond-16-untouched", bytes[16] == 0xa5);
	memset(&u, 0xa5, sizeof(u));
	u.info.argsz = 24;
	see(t, "rc24", sys(ioctl(t->container, VFIO_IOMMU_GET_INFO, &u.info)), 0);
	see(t, "cap-offset", u.info.cap_offset, 0);
	see_true(t, "beyond-24-untouched", bytes[24] == 0xa5);
}

#define CALL(on, nr, rc)                                                                           \
	wrong_call, &(const struct wrong_call)                                                     \
	{                                                                                          \
		on, nr, rc                                                                         \
	}
#define EXT(n, rc)                                                                                 \
	extension, &(const struct extension)                                                       \
	{                                                                                          \
		n, rc                                                                              \
	}
#define FAULT(of, nr, size)                                                                        \
	argument_fault, &(const struct fault)                                                      \
	{                                                                                          \
		of, nr, size                                                                       \
	}
#define ARGSZ(i) OPEN_DEVICE, 0, info_argsz, &argsz_values[i]

static const struct rule rules[] = {
	{"A.1/version/no-iommu", OPEN_GROUP, 0, api_version},
	{"A.1/version/type1", OPEN_TYPE1V2, 0, api_version},
	{"A.1/unknown/container-without-iommu", OPEN_MEMBER, 0,
	 CALL(ON_CONTAINER, VFIO_NR(99), -EINVAL)},
	{"A.1/unknown/container", OPEN_TYPE1V2, 0, CALL(ON_CONTAINER, VFIO_NR(99), -ENOTTY)},
	{"A.1/unknown/group", OPEN_MEMBER, 0, CALL(ON_GROUP, VFIO_NR(99), -ENOTTY)},
	{"A.1/unknown/device", OPEN_DEVICE, 0, CALL(ON_DEVICE, VFIO_NR(99), -ENOTTY)},
	{"A.1/unknown/device-22", OPEN_DEVICE, 0, CALL(ON_DEVICE, VFIO_NR(22), -ENOTTY)},
	{"A.1/unknown/spapr-enable", OPEN_TYPE1V2, 0, CALL(ON_CONTAINER, VFIO_NR(15), -ENOTTY)},
	{"A.1/unknown/spapr-disable", OPEN_TYPE1V2, 0, CALL(ON_CONTAINER, VFIO_NR(16), -ENOTTY)},
	{"A.1/unknown/device-gfx-plane", OPEN_DEVICE, 0, CALL(ON_DEVICE, VFIO_NR(14), -ENOTTY)},
	{"A.1/unknown/device-gfx-dmabuf", OPEN_DEVICE, 0, CALL(ON_DEVICE, VFIO_NR(15), -ENOTTY)},
	{"A.1/unknown/device-migration-data", OPEN_DEVICE, 0,
	 CALL(ON_DEVICE, VFIO_NR(21), -ENOTTY)},
	{"A.1/unknown/with-direction-bits", OPEN_DEVICE, 0,
	 CALL(ON_DEVICE, _IOR(VFIO_TYPE, VFIO_BASE + 7, int), -ENOTTY)},
	{"A.1/unknown/other-type-on-device", OPEN_DEVICE, 0,
	 CALL(ON_DEVICE, _IO('9', 107), -ENOTTY)},
	{"A.1/unknown/other-type-on-group", OPEN_MEMBER, 0, CALL(ON_GROUP, _IO('9', 103), -ENOTTY)},
	{"A.1/unknown/other-type-on-container", OPEN_TYPE1V2, 0,
	 CALL(ON_CONTAINER, _IO('9', 100), -ENOTTY)},
	{"A.1/unknown/other-type-on-container-without-iommu", OPEN_MEMBER, 0,
	 CALL(ON_CONTAINER, _IO('9', 100), -EINVAL)},
	{"A.1/kind/device-call-on-group", OPEN_DEVICE, 0,
	 CALL(ON_GROUP, VFIO_DEVICE_GET_INFO, -ENOTTY)},
	{"A.1/kind/device-call-on-container", OPEN_DEVICE, 0,
	 CALL(ON_CONTAINER, VFIO_DEVICE_GET_INFO, -ENOTTY)},
	{"A.1/kind/device-reset-on-container", OPEN_DEVICE, 0,
	 CALL(ON_CONTAINER, VFIO_DEVICE_RESET, -ENOTTY)},
	{"A.1/kind/group-call-on-device", OPEN_DEVICE, 0,
	 CALL(ON_DEVICE, VFIO_GROUP_GET_STATUS, -ENOTTY)},
	{"A.1/kind/group-call-on-container", OPEN_DEVICE, 0,
	 CALL(ON_CONTAINER, VFIO_GROUP_GET_STATUS, -ENOTTY)},
	{"A.1/kind/group-call-on-container-without-iommu", OPEN_MEMBER, 0,
	 CALL(ON_CONTAINER, VFIO_GROUP_GET_STATUS, -EINVAL)},
	{"A.1/kind/container-call-on-group", OPEN_DEVICE, 0,
	 CALL(ON_GROUP, VFIO_GET_API_VERSION, -ENOTTY)},
	{"A.1/kind/container-call-on-device", OPEN_DEVICE, 0,
	 CALL(ON_DEVICE, VFIO_GET_API_VERSION, -ENOTTY)},
	{"A.1/kind/map-dma-on-group", OPEN_DEVICE, 0, CALL(ON_GROUP, VFIO_IOMMU_MAP_DMA, -ENOTTY)},
	{"A.1/kind/set-iommu-on-device", OPEN_DEVICE, 0, CALL(ON_DEVICE, VFIO_SET_IOMMU, -ENOTTY)},
	{"A.1/kind/set-container-on-device", OPEN_DEVICE, 0,
	 CALL(ON_DEVICE, VFIO_GROUP_SET_CONTAINER, -ENOTTY)},
	{"A.1/cdev-call/bind-on-group-device", OPEN_DEVICE, 0, bind_group_device},
	{"A.1/cdev-call/attach-on-group-device", OPEN_DEVICE, 0,
	 CALL(ON_DEVICE, VFIO_NR(19), -ENOTTY)},
	{"A.1/cdev-call/detach-on-group-device", OPEN_DEVICE, 0,
	 CALL(ON_DEVICE, VFIO_NR(20), -ENOTTY)},
	{"A.1/extension/type1-without-iommu", OPEN_MEMBER, 0, EXT(VFIO_TYPE1_IOMMU, 1)},
	{"A.1/extension/type1v2-without-iommu", OPEN_MEMBER, 0, EXT(VFIO_TYPE1v2_IOMMU, 1)},
	{"A.1/extension/spapr-without-iommu", OPEN_MEMBER, 0, EXT(VFIO_SPAPR_TCE_IOMMU, 0)},
	{"A.1/extension/dma-cc-without-iommu", OPEN_MEMBER, 0, EXT(VFIO_DMA_CC_IOMMU, 0)},
	{"A.1/extension/noiommu-without-iommu", OPEN_MEMBER, 0, EXT(VFIO_NOIOMMU_IOMMU, 0)},
	{"A.1/extension/unmap-all-without-iommu", OPEN_MEMBER, 0, EXT(VFIO_UNMAP_ALL, 1)},
	{"A.1/extension/update-vaddr-without-iommu", OPEN_MEMBER, 0, EXT(VFIO_UPDATE_VADDR, 0)},
	{"A.1/extension/unknown-without-iommu", OPEN_MEMBER, 0, EXT(99, 0)},
	{"A.1/extension/negative-without-iommu", OPEN_MEMBER, 0, EXT(-1, 0)},
	{"A.1/extension/no-group", OPEN_GROUP, 0, EXT(VFIO_TYPE1_IOMMU, 1)},
	{"A.1/extension/type1", OPEN_TYPE1V2, 0, EXT(VFIO_TYPE1_IOMMU, 1)},
	{"A.1/extension/spapr", OPEN_TYPE1V2, 0, EXT(VFIO_SPAPR_TCE_IOMMU, 0)},
	{"A.1/extension/type1v2", OPEN_TYPE1V2, 0, EXT(VFIO_TYPE1v2_IOMMU, 1)},
	{"A.1/extension/dma-cc", OPEN_TYPE1V2, 0, EXT(VFIO_DMA_CC_IOMMU, 1)},
	{"A.1/extension/eeh", OPEN_TYPE1V2, 0, EXT(VFIO_EEH, 0)},
	{"A.1/extension/reserved-6", OPEN_TYPE1V2, 0, extension_6},
	{"A.1/extension/spapr-v2", OPEN_TYPE1V2, 0, EXT(VFIO_SPAPR_TCE_v2_IOMMU, 0)},
	{"A.1/extension/noiommu", OPEN_TYPE1V2, 0, EXT(VFIO_NOIOMMU_IOMMU, 0)},
	{"A.1/extension/unmap-all", OPEN_TYPE1V2, 0, EXT(VFIO_UNMAP_ALL, 1)},
	{"A.1/extension/update-vaddr", OPEN_TYPE1V2, 0, EXT(VFIO_UPDATE_VADDR, 1)},
	{"A.1/extension/zero", OPEN_TYPE1V2, 0, EXT(0, 0)},
	{"A.1/extension/unknown", OPEN_TYPE1V2, 0, EXT(99, 0)},
	{"A.1/extension/unmap-all-version-1", OPEN_TYPE1, 0, EXT(VFIO_UNMAP_ALL, 1)},
	{"A.1/argsz/device-info-0", ARGSZ(0)},
	{"A.1/argsz/device-info-8", ARGSZ(1)},
	{"A.1/argsz/device-info-15", ARGSZ(2)},
	{"A.1/argsz/device-info-16", ARGSZ(3)},
	{"A.1/argsz/device-info-20", ARGSZ(4)},
	{"A.1/argsz/device-info-23", ARGSZ(5)},
	{"A.1/argsz/device-info-24", ARGSZ(6)},
	{"A.1/argsz/device-info-64", ARGSZ(7)},
	{"A.1/argsz/device-info-4096", ARGSZ(8)},
	{"A.1/argsz/device-info-max", ARGSZ(9)},
	{"A.1/argsz/device-info-at-page-end", OPEN_DEVICE, 0, info_page_end},
	{"A.1/argsz/region-chain", OPEN_DEVICE, NEED_TABLE, region_chain},
	{"A.1/argsz/iommu-chain", OPEN_TYPE1V2, 0, iommu_chain},
	{"A.1/fault/device-info", OPEN_DEVICE, 0, FAULT(OF_DEVICE, VFIO_DEVICE_GET_INFO, 16)},
	{"A.1/fault/region-info", OPEN_DEVICE, 0,
	 FAULT(OF_DEVICE, VFIO_DEVICE_GET_REGION_INFO, 32)},
	{"A.1/fault/irq-info", OPEN_DEVICE, 0, FAULT(OF_DEVICE, VFIO_DEVICE_GET_IRQ_INFO, 16)},
	{"A.1/fault/set-irqs", OPEN_DEVICE, 0, FAULT(OF_DEVICE, VFIO_DEVICE_SET_IRQS, 20)},
	{"A.1/fault/ioeventfd", OPEN_DEVICE, 0, FAULT(OF_DEVICE, VFIO_DEVICE_IOEVENTFD, 28)},
	{"A.1/fault/feature", OPEN_DEVICE, 0, FAULT(OF_DEVICE, VFIO_DEVICE_FEATURE, 8)},
	{"A.1/fault/group-status", OPEN_DEVICE, 0, FAULT(OF_GROUP, VFIO_GROUP_GET_STATUS, 8)},
	{"A.1/fault/iommu-info", OPEN_DEVICE, 0, FAULT(OF_CONTAINER, VFIO_IOMMU_GET_INFO, 16)},
	{"A.1/fault/hot-reset-info", OPEN_DEVICE, 0,
	 FAULT(OF_DEVICE, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, 12)},
	{"A.1/fault/hot-reset", OPEN_DEVICE, 0, FAULT(OF_DEVICE, VFIO_DEVICE_PCI_HOT_RESET, 12)},
	{"A.1/fault/map-dma", OPEN_DEVICE, 0, FAULT(OF_CONTAINER, VFIO_IOMMU_MAP_DMA, 32)},
	{"A.1/fault/unmap-dma", OPEN_DEVICE, 0, FAULT(OF_CONTAINER, VFIO_IOMMU_UNMAP_DMA, 24)},
	{"A.1/fault/answer-read-only", OPEN_DEVICE, 0, read_only_argument},
};
const struct section section_a1 = SECTION("A.1", rules);
