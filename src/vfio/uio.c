/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uio: see uio.h.
 *
 * Theory of operation.  A binding (struct uio) lives from bind to unbind, and as long as somebody
 * has a file of it open; after unbind those only say EIO.  While there are open files the device is
 * open, as for VFIO, with an empty address space and INTx enabled with an eventfd of ours.  That is
 * watched in the device's work context; each signal makes the count larger, and tells the files.
 * INTx is automasked when it is delivered, which hardware's COMMAND shows as DisINTx; so a driver
 * unmasks it by clearing that bit in `config`, as with the kernel's uio_pci_generic, or by write(2)
 * of 1, as with drivers that have irqcontrol.
 *
 *     DEVICE_UNBOUND ──bind──▶ DEVICE_UIO ──unbind──▶ DEVICE_UNBOUND
 *                      files: none ──open──▶ device open ──last release, or unbind──▶ none
 *
 * Messages are bus-master writes; they and bus mastering are on while vectors are set up, and the
 * line is off meanwhile.  The line or nothing: bus mastering is off.
 *
 * What the host writes to `config` is let through but for what would make messages go elsewhere or
 * DMA possible: BARs, the MSI and MSI-X capabilities, bus mastering.
 *
 * Locks: uio->session is held over opening and closing of the device and what acts on an open one;
 * within it all of the device's.  machine->lock → uio->lock, a leaf.  No client is called under
 * either.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "vfio/machine_private.h"
#include "vfio/uio_private.h"

#define MAX_FILES 1024u /* of a device */

struct uio_file {
	struct uio_file *next;
	struct uio *uio;
	uint32_t seen; /* the count that was read last */
	void (*changed)(void *arg);
	void *arg;
};

bool vfio_uio_built(void)
{
	return true;
}

void vfio_machine_set_uio_first(struct vfio_machine *machine, unsigned first)
{
	pthread_mutex_lock(&machine->lock);
	machine->uio_first = first;
	pthread_mutex_unlock(&machine->lock);
}

unsigned vfio_machine_uio_first(struct vfio_machine *machine)
{
	unsigned first;

	pthread_mutex_lock(&machine->lock);
	first = machine->uio_first;
	pthread_mutex_unlock(&machine->lock);
	return first;
}

void uio_put(struct uio *uio)
{
	bool last;

	pthread_mutex_lock(&uio->lock);
	last = --uio->refs == 0;
	pthread_mutex_unlock(&uio->lock);
	if (!last)
		return;
	pthread_mutex_destroy(&uio->session);
	pthread_mutex_destroy(&uio->lock);
	free(uio);
}

struct uio *uio_get(struct vfio_device *dev)
{
	struct uio *uio;

	pthread_mutex_lock(&dev->machine->lock);
	uio = dev->uio;
	if (uio) {
		pthread_mutex_lock(&uio->lock);
		uio->refs++;
		pthread_mutex_unlock(&uio->lock);
	}
	pthread_mutex_unlock(&dev->machine->lock);
	return uio;
}

/* uio->lock held. */
static void tell_locked(struct uio *uio)
{
	for (struct uio_file *file = uio->files; file; file = file->next)
		file->changed(file->arg);
}

/* ---- the device; uio->session held ---- */

/* [work context] */
static void interrupted(void *arg)
{
	struct uio *uio = arg;
	uint64_t n;

	if (read(uio->eventfd, &n, sizeof(n)) != (ssize_t)sizeof(n))
		return;
	pthread_mutex_lock(&uio->lock);
	uio->events += (uint32_t)n;
	tell_locked(uio);
	pthread_mutex_unlock(&uio->lock);
}

static void call_unwatch(struct vfio_device *dev, void *arg)
{
	struct uio *uio = arg;

	uvfio_watch_free(uio->watch);
}

static void session_end(struct uio *uio)
{
	struct vfio_device *dev = uio->dev;

	if (uio->watch)
		device_call(dev, call_unwatch, uio);
	uio->watch = NULL;
	observe_file_closed(&uio->df);
	uio->is_open = false;
	device_close(dev);
	if (uio->eventfd >= 0)
		close(uio->eventfd);
	uio->eventfd = -1;
	device_emit(dev, VFIO_EVENT_CLOSE, dev->group->number, 0, 0, 0);
}

static int session_begin(struct uio *uio, const struct vfio_client *client)
{
	struct vfio_device *dev = uio->dev;
	struct backend *backend = backend_new_empty();
	int ret;

	if (!backend)
		return -ENOMEM;
	ret = device_open(dev, &(struct open_with){.backend = backend, .uio = true}, NULL);
	backend_put(backend);
	if (ret < 0)
		return ret;
	uio->is_open = true;
	uio->df = (struct vfio_device_file){.dev = dev};
	observe_file(&uio->df, client);
	device_emit(dev, VFIO_EVENT_OPEN, dev->group->number, 0, 0, 0);
	if (!uio->has_irq)
		return 0;
	uio->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (uio->eventfd >= 0)
		uio->watch = uvfio_watch_new(dev->ctx, uio->eventfd, interrupted, uio);
	ret = uio->watch ? uio_line_on(uio) : -errno;
	if (ret)
		session_end(uio);
	else
		uio_apply_irqs(uio);
	return ret;
}

/* ---- binding ---- */

/* As the kernel's probe: a line that cannot be masked by DisINTx is not to be shared. */
static bool probe(const struct vfio_device *dev)
{
	const struct uvfio_pci_desc *desc = pci_func_desc(dev->func);

	return !desc->interrupt_pin || (!desc->broken_intx && !dev->nointxmask);
}

int uio_check(struct vfio_device *dev, struct uvfio_error *err)
{
	if (!dev->machine->policy.enable_uio)
		return uvfio_error_set(err, -EINVAL,
				       "driver=%s: uio is switched off here (--policy "
				       "enable_uio=N)",
				       VFIO_UIO_DRIVER);
	if (!probe(dev))
		return uvfio_error_set(err, -EINVAL,
				       "driver=%s: it does not take a device whose INTx DisINTx "
				       "does not mask, as this one's (nointxmask, or the model "
				       "says so)",
				       VFIO_UIO_DRIVER);
	return 0;
}

/* The lowest that is free; machine->lock held. */
static unsigned free_minor(const struct vfio_machine *machine)
{
	unsigned minor = machine->uio_first;

	for (unsigned i = 0; i < machine->nr_devices; i++) {
		const struct uio *uio = machine->devices[i]->uio;

		if (!uio || uio->minor != minor)
			continue;
		minor++;
		i = ~0u; /* from the start */
	}
	return minor;
}

int vfio_device_uio_bind(struct vfio_device *dev)
{
	struct vfio_machine *machine = dev->machine;
	struct uio *uio;
	int ret;

	if (!machine->policy.enable_uio || !probe(dev))
		return -ENODEV;
	uio = calloc(1, sizeof(*uio));
	if (!uio)
		return -ENOMEM;
	pthread_mutex_init(&uio->session, NULL);
	pthread_mutex_init(&uio->lock, NULL);
	uio->refs = 1;
	uio->dev = dev;
	uio->eventfd = -1;
	uio->has_irq = pci_func_desc(dev->func)->interrupt_pin;
	pthread_mutex_lock(&machine->lock);
	ret = device_take_locked(dev, DEVICE_UIO);
	if (!ret) {
		uio->minor = free_minor(machine);
		dev->uio = uio;
	}
	pthread_mutex_unlock(&machine->lock);
	if (ret) {
		uio_put(uio);
		return ret;
	}
	device_enable(dev);
	uvfio_log(machine->log, UVFIO_LOG_INFO, "%s: uio_pci_generic has it, as uio%u", dev->name,
		  uio->minor);
	return 0;
}

/* Nobody finds it any more, and its files say so. */
static void disappear(struct uio *uio)
{
	pthread_mutex_lock(&uio->lock);
	uio->gone = true;
	tell_locked(uio);
	pthread_mutex_unlock(&uio->lock);
	pthread_mutex_lock(&uio->session);
	if (uio->is_open)
		session_end(uio);
	pthread_mutex_unlock(&uio->session);
}

int vfio_device_uio_unbind(struct vfio_device *dev)
{
	struct uio *uio = uio_get(dev);
	bool mine = false;

	if (!uio)
		return -ENODEV;
	pthread_mutex_lock(&uio->lock);
	mine = !uio->gone;
	uio->gone = true;
	pthread_mutex_unlock(&uio->lock);
	if (!mine) {
		/* Whoever is at it may wait for a reset; who tries again shall wait, too. */
		pthread_mutex_lock(&uio->session);
		pthread_mutex_unlock(&uio->session);
		uio_put(uio);
		return -ENODEV;
	}
	disappear(uio);
	device_enable(dev); /* the host leaves that as it is */
	/* Bound until it is closed, so that nobody else opens it before. */
	pthread_mutex_lock(&dev->machine->lock);
	dev->uio = NULL;
	device_set_state(dev, DEVICE_UNBOUND);
	pthread_mutex_unlock(&dev->machine->lock);

	uio_put(uio); /* the binding's */
	uio_put(uio);
	return 0;
}

void uio_fini(struct vfio_device *dev)
{
	struct uio *uio = dev->uio;

	if (!uio)
		return;
	disappear(uio);
	dev->uio = NULL;
	uio_put(uio);
}

bool vfio_device_uio(struct vfio_device *dev, unsigned *minor)
{
	bool bound;

	pthread_mutex_lock(&dev->machine->lock);
	bound = dev->uio;
	if (bound && minor)
		*minor = dev->uio->minor;
	pthread_mutex_unlock(&dev->machine->lock);
	return bound;
}

uint32_t vfio_device_uio_events(struct vfio_device *dev)
{
	struct uio *uio = uio_get(dev);
	uint32_t events = 0;

	if (!uio)
		return 0;
	pthread_mutex_lock(&uio->lock);
	events = uio->events;
	pthread_mutex_unlock(&uio->lock);
	uio_put(uio);
	return events;
}

/* ---- files ---- */

/* uio->session held. */
static int add_file(struct uio *uio, const struct vfio_client *client, struct uio_file *file)
{
	int ret = 0;

	/* Who unbinds sets this first, and waits for the session then. */
	pthread_mutex_lock(&uio->lock);
	if (uio->gone)
		ret = -ENODEV;
	else if (uio->nr_files == MAX_FILES)
		ret = -ENOMEM;
	pthread_mutex_unlock(&uio->lock);
	if (!ret && !uio->opens)
		ret = session_begin(uio, client);
	if (ret)
		return ret;
	uio->opens++;
	pthread_mutex_lock(&uio->lock);
	uio->refs++;
	uio->nr_files++;
	file->uio = uio;
	file->seen = uio->events;
	file->next = uio->files;
	uio->files = file;
	pthread_mutex_unlock(&uio->lock);
	return 0;
}

int vfio_uio_open(struct vfio_device *dev, const struct vfio_client *client,
		  void (*changed)(void *arg), void *arg, struct uio_file **out)
{
	struct uio_file *file = calloc(1, sizeof(*file));
	struct uio *uio = uio_get(dev);
	int ret = file ? -ENODEV : -ENOMEM;

	if (uio && file) {
		file->changed = changed;
		file->arg = arg;
		pthread_mutex_lock(&uio->session);
		ret = add_file(uio, client, file);
		pthread_mutex_unlock(&uio->session);
	}
	if (uio)
		uio_put(uio);
	if (ret)
		free(file);
	else
		*out = file;
	return ret;
}

void vfio_uio_release(struct uio_file *file)
{
	struct uio *uio = file->uio;
	struct uio_file **p = &uio->files;

	pthread_mutex_lock(&uio->session);
	pthread_mutex_lock(&uio->lock);
	while (*p != file)
		p = &(*p)->next;
	*p = file->next;
	uio->nr_files--;
	pthread_mutex_unlock(&uio->lock);
	if (--uio->opens == 0 && uio->is_open) {
		session_end(uio);
		/* As bound as before: the host may go on with its registers. */
		device_enable(uio->dev);
	}
	pthread_mutex_unlock(&uio->session);
	uio_put(uio);
	free(file);
}

int vfio_uio_read(struct uio_file *file, int32_t *count)
{
	struct uio *uio = file->uio;
	int ret = -EAGAIN;

	pthread_mutex_lock(&uio->lock);
	if (uio->gone || !uio->has_irq) {
		ret = -EIO;
	} else if (file->seen != uio->events) {
		file->seen = uio->events;
		*count = (int32_t)uio->events;
		ret = 0;
	}
	pthread_mutex_unlock(&uio->lock);
	return ret;
}

unsigned vfio_uio_poll(struct uio_file *file)
{
	struct uio *uio = file->uio;
	unsigned ret = 0;

	pthread_mutex_lock(&uio->lock);
	if (uio->gone || !uio->has_irq)
		ret = (unsigned)-EIO;
	else if (file->seen != uio->events)
		ret = POLLIN | POLLRDNORM;
	pthread_mutex_unlock(&uio->lock);
	return ret;
}

int vfio_uio_control(struct uio_file *file, int32_t on)
{
	struct uio *uio = file->uio;
	int ret = -EINVAL;

	pthread_mutex_lock(&uio->session);
	if (uio->is_open && !uio->has_irq)
		ret = -EIO;
	else if (uio->is_open && (on == 0 || on == 1))
		ret = uio_mask_line(uio, !on);
	pthread_mutex_unlock(&uio->session);
	return ret;
}

/* ---- config space ---- */

/* Bytes of the MSI capability at @msi. */
static unsigned msi_size(struct vfio_device *dev, unsigned msi)
{
	uint32_t flags = pci_hw_read(dev->func, msi + PCI_MSI_FLAGS, 2);

	return (flags & PCI_MSI_FLAGS_64BIT ? 14 : 10) + (flags & PCI_MSI_FLAGS_MASKBIT ? 10 : 0);
}

/* Is byte @off of config space not the host's to change? */
static bool is_protected(struct vfio_device *dev, unsigned off)
{
	unsigned msi = pci_find_cap(dev->func, PCI_CAP_ID_MSI);
	unsigned msix = pci_find_cap(dev->func, PCI_CAP_ID_MSIX);

	return (off >= PCI_BASE_ADDRESS_0 && off < PCI_BASE_ADDRESS_5 + 4) ||
	       (off >= PCI_ROM_ADDRESS && off < PCI_ROM_ADDRESS + 4) ||
	       (msi && off >= msi && off < msi + msi_size(dev, msi)) ||
	       (msix && off >= msix && off < msix + PCI_CAP_MSIX_SIZEOF);
}

uint32_t uio_guard(struct vfio_device *dev, unsigned off, unsigned size, uint32_t value)
{
	uint32_t now = pci_hw_read(dev->func, off, size);

	for (unsigned i = 0; i < size; i++) {
		uint32_t keep = 0;

		if (is_protected(dev, off + i))
			keep = 0xff;
		else if (off + i == PCI_COMMAND)
			keep = PCI_COMMAND_MASTER;
		value = (value & ~(keep << 8 * i)) | (now & keep << 8 * i);
	}
	return value;
}

void uio_command_written(struct vfio_device *dev, bool disable)
{
	struct uio *uio = uio_get(dev);

	if (!uio)
		return;
	pthread_mutex_lock(&uio->session);
	if (uio->is_open && irq_active(dev->irqs, NULL) == VFIO_PCI_INTX_IRQ_INDEX)
		uio_mask_line(uio, disable);
	pthread_mutex_unlock(&uio->session);
	uio_put(uio);
}
