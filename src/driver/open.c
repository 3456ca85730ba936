/* SPDX-License-Identifier: BSD-3-Clause */
/* Open and close a device; reconnect; what is left over: reset and features. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "driver/kernel.h"

/* DDDD:BB:DD.F at the beginning of @s? */
static bool starts_with_bdf(const char *s)
{
	static const char pattern[] = "xxxx:xx:xx.7";

	for (unsigned i = 0; pattern[i]; i++) {
		char c = s[i];

		if (pattern[i] == 'x'   ? !isxdigit((unsigned char)c)
		    : pattern[i] == '7' ? c < '0' || c > '7'
					: c != pattern[i])
			return false;
	}
	return true;
}

/* The way to the device, its name without options, and the options behind a space. */
static int parse_name(struct uvfio_pci *dev, const char *name, const char *options,
		      struct uvfio_error *err)
{
	const size_t bdf = strlen("0000:00:00.0");
	char *text = NULL;
	int ret;

	if (!strncmp(name, "unix:", 5)) {
		if (!name[5])
			return uvfio_error_set(err, -EINVAL,
					       "\"unix:\" without a path: say unix:/run/disk.sock");
		dev->ops = &drv_vfio_user_ops;
		dev->name = strdup(name);
		if (!dev->name)
			return uvfio_error_set(err, -ENOMEM, "no memory");
		return drv_options_parse(&dev->opt, options, true, err);
	}
	if (!strncmp(name, "fd:", 3)) {
		if (!name[3] || name[3 + strspn(name + 3, "0123456789")] || strlen(name) > 12)
			return uvfio_error_set(err, -EINVAL, "%s: not a descriptor: say fd:NUMBER",
					       name);
		dev->ops = &drv_vfio_user_ops;
		dev->name = strdup(name);
		if (!dev->name)
			return uvfio_error_set(err, -ENOMEM, "no memory");
		return drv_options_parse(&dev->opt, options, true, err);
	}
	if (!starts_with_bdf(name) || (name[bdf] && name[bdf] != ' '))
		return uvfio_error_set(
			err, -EINVAL,
			"%s: not a device: say DDDD:BB:DD.F, as `lspci -D` prints it, "
			"unix:PATH or fd:NUMBER",
			name);
	dev->name = strndup(name, bdf);
	/* The kernel's own form: the options behind the name. */
	text = malloc(strlen(name) + (options ? strlen(options) : 0) + 2);
	if (!dev->name || !text) {
		free(text);
		return uvfio_error_set(err, -ENOMEM, "no memory");
	}
	strcpy(text, name + bdf);
	strcat(text, " ");
	strcat(text, options ? options : "");
	ret = drv_options_parse(&dev->opt, text, false, err);
	explicit_bzero(text, strlen(text));
	free(text);
	if (ret)
		return ret;
	dev->ops = &drv_kernel_group_ops;
	if (dev->opt.via == DRV_VIA_CDEV)
		dev->ops = &drv_kernel_cdev_ops;
	else if (dev->opt.via == DRV_VIA_AUTO && drv_kernel_has_cdev(dev->name))
		dev->ops = &drv_kernel_cdev_ops;
	return 0;
}

/* What it has.  When that is known already (a reconnect): the same? */
static int identify(struct uvfio_pci *dev, struct uvfio_error *err)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	int ret = dev->ops->device_info(dev, &info);

	if (ret)
		return uvfio_error_set(err, ret, "%s: asking what it is: %s", dev->name,
				       strerror(-ret));
	if (!(info.flags & VFIO_DEVICE_FLAGS_PCI))
		return uvfio_error_set(err, -ENODEV, "%s: not a PCI device (flags %#x)", dev->name,
				       info.flags);
	if (info.num_regions <= UVFIO_PCI_CONFIG || info.num_regions > DRV_MAX_REGIONS)
		return uvfio_error_set(
			err, -EPROTO,
			"%s: says it has %u regions; a PCI device has 9 or a few more", dev->name,
			info.num_regions);
	if (dev->regions && (info.num_regions != dev->nr_regions || info.num_irqs != dev->nr_irqs))
		return uvfio_error_set(err, -ENODEV,
				       "%s: a different device is there now: %u regions and %u "
				       "interrupt types, not %u and %u",
				       dev->name, info.num_regions, info.num_irqs, dev->nr_regions,
				       dev->nr_irqs);
	dev->flags = info.flags;
	dev->nr_regions = info.num_regions;
	dev->nr_irqs = info.num_irqs;
	return 0;
}

/* Vendor and device from config space. */
static int read_id(struct uvfio_pci *dev, uint32_t *id, struct uvfio_error *err)
{
	int ret = uvfio_pci_config_read(dev, 0, 4, id);

	if (ret)
		return uvfio_error_set(err, ret, "%s: reading config space: %s", dev->name,
				       strerror(-ret));
	return 0;
}

static void release(struct uvfio_pci *dev)
{
	drv_space_leave(dev);
	drv_irqs_fini(dev);
	drv_regions_fini(dev);
	pthread_mutex_destroy(&dev->config_lock);
	free(dev->name);
	free(dev);
}

int uvfio_pci_open_in(struct uvfio_dma_space *space, const char *name, const char *options,
		      struct uvfio_pci **out, struct uvfio_error *err)
{
	struct uvfio_pci *dev = calloc(1, sizeof(*dev));
	bool asking;
	int ret;

	if (!dev)
		return uvfio_error_set(err, -ENOMEM, "no memory");
	pthread_mutex_init(&dev->config_lock, NULL);
	pthread_mutex_init(&dev->irq_lock, NULL);
	dev->space = space;
	ret = drv_space_init(dev, err);
	if (!ret)
		ret = parse_name(dev, name, options, err);
	if (!ret)
		ret = dev->ops->open(dev, err);
	if (!ret)
		ret = drv_space_attach(dev, err);
	explicit_bzero(dev->opt.vf_token, sizeof(dev->opt.vf_token)); /* nobody asks again */
	if (!ret)
		ret = identify(dev, err);
	asking = !ret && dev->ops->ask_ahead;
	if (asking)
		dev->ops->ask_ahead(dev);
	if (!ret)
		ret = drv_regions_init(dev, err);
	if (!ret)
		ret = drv_irqs_init(dev, err);
	if (asking && ret && dev->ops->hang_up) /* the other answers need not come */
		dev->ops->hang_up(dev);
	if (asking)
		dev->ops->asked(dev);
	if (!ret)
		ret = read_id(dev, &dev->id, err);
	dev->opened = true;
	if (ret)
		release(dev);
	else
		*out = dev;
	return ret;
}

int uvfio_pci_open(const char *name, const char *options, struct uvfio_pci **out,
		   struct uvfio_error *err)
{
	return uvfio_pci_open_in(NULL, name, options, out, err);
}

void uvfio_pci_close(struct uvfio_pci *dev)
{
	if (!dev)
		return;
	release(dev);
}

const char *uvfio_pci_name(const struct uvfio_pci *dev)
{
	return dev->name;
}

enum uvfio_pci_way uvfio_pci_get_way(const struct uvfio_pci *dev)
{
	return dev->ops->way;
}

int uvfio_pci_lost_fd(const struct uvfio_pci *dev)
{
	return dev->ops->lost_fd ? dev->ops->lost_fd(dev) : -1;
}

int uvfio_pci_reconnect(struct uvfio_pci *dev, int timeout_ms, struct uvfio_error *err)
{
	int64_t deadline = -1;
	struct timespec now;
	uint32_t id;
	int ret;

	if (!dev->ops->reconnect)
		return uvfio_error_set(err, -EOPNOTSUPP,
				       "%s: a device of the kernel has no connection to renew",
				       dev->name);
	if (timeout_ms >= 0) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		deadline = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 + timeout_ms;
	}
	ret = dev->ops->reconnect(dev, deadline, err);
	if (ret)
		return ret;
	ret = identify(dev, err);
	if (!ret)
		ret = read_id(dev, &id, err);
	if (!ret && id != dev->id)
		ret = uvfio_error_set(
			err, -ENODEV,
			"%s: a different device is there now: %04x:%04x, not %04x:%04x", dev->name,
			id & 0xffff, id >> 16, dev->id & 0xffff, dev->id >> 16);
	if (!ret)
		ret = drv_regions_renew(dev, err);
	if (!ret)
		ret = drv_irqs_renew(dev, err);
	if (!ret)
		ret = drv_space_renew(dev, err);
	if (ret && dev->ops->give_up)
		dev->ops->give_up(dev);
	return ret;
}

bool uvfio_pci_continued(const struct uvfio_pci *dev)
{
	return dev->continued;
}

int uvfio_pci_reset(struct uvfio_pci *dev)
{
	return dev->ops->reset(dev);
}

ssize_t uvfio_pci_feature(struct uvfio_pci *dev, unsigned feature, unsigned op, void *data,
			  size_t len)
{
	struct vfio_device_feature *f;
	size_t size = sizeof(*f) + len;
	ssize_t ret;

	if (feature > VFIO_DEVICE_FEATURE_MASK || len > (1u << 20) ||
	    op & ~(UVFIO_PCI_FEATURE_GET | UVFIO_PCI_FEATURE_SET | UVFIO_PCI_FEATURE_PROBE))
		return -EINVAL;
	f = calloc(1, size);
	if (!f)
		return -ENOMEM;
	f->argsz = (uint32_t)size;
	f->flags = feature | op;
	if (len)
		memcpy(f->data, data, len);
	ret = dev->ops->feature(dev, f);
	if (ret > 0 && (size_t)ret > len)
		ret = -EPROTO;
	if (ret >= 0 && op & UVFIO_PCI_FEATURE_GET && !(op & UVFIO_PCI_FEATURE_PROBE)) {
		if (ret)
			memcpy(data, f->data, (size_t)ret);
	} else {
		/* What the kernel has put in place of what it was given. */
		if (ret >= 0 && len && !(op & UVFIO_PCI_FEATURE_PROBE))
			memcpy(data, f->data, len);
		if (ret > 0)
			ret = 0;
	}
	free(f);
	return ret;
}
