/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The object model: machine, group, container, device.  Everything that a door does, it does
 * through this header; the rules behind it are sections A, D.1 and F.
 *
 * A machine is a PCI segment with its functions, groups and policy.  A group file, a container file
 * and a device file stand for one open each; the door ties them to its fds and calls the _release
 * function when the client's last reference (fd or mapping) has gone.
 *
 * Return values are 0 or positive results as the kernel's ioctl gives them, or -errno.
 *
 * Threads: any thread may call anything; calls may wait for a device to become quiet (they never
 * wait for a client).  Lock order: machine → container → group → device (open/reset mutex) →
 * device config mutex → device register mutex; details in machine_private.h.
 */
#ifndef UVFIO_VFIO_VFIO_H
#define UVFIO_VFIO_VFIO_H

#include <sys/types.h>
#include "base/ctx.h"
#include "base/log.h"
#include "pci/pci.h"
#include "vfio/client.h"

/* ---- policy: the kernel's names and defaults ---- */

struct vfio_policy {
	bool enable_unsafe_noiommu_mode; /* N */
	bool allow_unsafe_interrupts;    /* N */
	bool strict_mmio_maps;           /* Y */
	unsigned dma_entry_limit;        /* 65535 */
	bool enable_sriov;               /* N */
	bool nointxmask;                 /* N */
	bool disable_idle_d3;            /* N */
	bool enable_uio;                 /* Y, unless built without; no kernel's (uio.h) */
	unsigned caller_caps;            /* VFIO_CAP_…; default VFIO_CAP_IPC_LOCK */
	/* No knob: what the machine's platform lacks.  Without isolation a device could forge
	 * another's interrupts, so attaching is EPERM unless allow_unsafe_interrupts (F). */
	bool no_interrupt_isolation;
};
void vfio_policy_default(struct vfio_policy *policy);
/* "KNOB=VALUE", as in --policy; -EINVAL with a message that lists the knobs or the valid values. */
int vfio_policy_set(struct vfio_policy *policy, const char *assignment, struct uvfio_error *err);

/* A knob, and where the kernel has it: /sys/module/@module/parameters/@name with @mode. */
struct vfio_knob {
	const char *name;
	const char *module; /* NULL: it is ours */
	unsigned mode;      /* without 0200: fixed when the machine is made */
};
/* The knobs in a fixed order; NULL behind the last. */
const struct vfio_knob *vfio_policy_knob(unsigned i);
/* The value of a knob as its file in sysfs says it, without the newline; -EINVAL: no such knob. */
#define VFIO_KNOB_TEXT 48u /* bytes */
int vfio_policy_text(const struct vfio_policy *policy, const char *name, char out[VFIO_KNOB_TEXT]);

/* ---- machine ---- */

struct vfio_machine;

struct vfio_machine *vfio_machine_new(const struct vfio_policy *policy, struct uvfio_log *log,
				      struct uvfio_error *err);
/* Every file of it has been released.  Completes the removals that are under way. */
void vfio_machine_free(struct vfio_machine *machine);
/* As it was given to vfio_machine_new(), with defaults; it never changes. */
const struct vfio_policy *vfio_machine_policy(const struct vfio_machine *machine);
/* As it is now, and changing it, "KNOB=VALUE", as a write to the knob's file in sysfs does: it
 * concerns what is bound, attached or given an IOMMU later.  -EPERM for a knob that is fixed, else
 * as vfio_policy_set().  Any thread. */
void vfio_machine_get_policy(struct vfio_machine *machine, struct vfio_policy *out);
int vfio_machine_set_policy(struct vfio_machine *machine, const char *assignment,
			    struct uvfio_error *err);
/* What makes this machine one whose isolation cannot be relied on (A.9, F): bits 1 << VFIO_TAINT_….
 * They are set for good, at the moment when it happens; from then on every line of its log says so.
 * Any thread. */
enum vfio_taint {
	VFIO_TAINT_NOIOMMU,    /* a device without IOMMU was given to VFIO */
	VFIO_TAINT_INTERRUPTS, /* a group was attached without isolated interrupts */
	VFIO_TAINT_MMIO,       /* memory was mapped that can neither be pinned nor recognised */
	NR_VFIO_TAINTS
};
unsigned vfio_machine_taint(const struct vfio_machine *machine);
const char *vfio_taint_name(enum vfio_taint taint); /* "no-iommu", … */
/* Models that `--device` can name. */
int vfio_machine_add_model(struct vfio_machine *machine, const struct uvfio_model *model);
/* Is @model complete, and of this ABI?  0, -ENOEXEC or -EINVAL with a message about @what. */
int vfio_model_check(const char *what, const struct uvfio_model *model, struct uvfio_error *err);
/* The @index'th of them, NULL behind the last.  Models stay for as long as the machine.  Any thread. */
const struct uvfio_model *vfio_machine_model(struct vfio_machine *machine, unsigned index);
/* Load the model that the shared object @path (with a '/') exports, for good.  0; -ENOEXEC when it
 * cannot be loaded, exports none, or one of another ABI; -EINVAL when the model is incomplete.  The
 * object's constructors run: it is code that the caller trusts.  Any thread. */
int vfio_model_load(const char *path, const struct uvfio_model **out, struct uvfio_error *err);
/* How uvfio_open() and uvfio_connect() are done; either may be NULL.  Both return a descriptor or
 * -errno and are called from any thread.  Before the first device. */
struct block_rings;
struct vfio_file_ops {
	int (*open)(void *arg, const char *path, int flags);
	int (*connect)(void *arg, const char *uri);
	void *arg;
	/* block/rings.h: what there is of io_uring in a process that can make none; NULL: files make
	 * their own. */
	struct block_rings *rings;
};
void vfio_machine_set_file_ops(struct vfio_machine *machine, const struct vfio_file_ops *ops);
/* Have all devices work on @loop, which outlives the machine, in place of threads that the machine
 * makes.  Before the first device. */
void vfio_machine_set_loop(struct vfio_machine *machine, struct uvfio_loop *loop);
/* Have @fn called whenever a device has come or gone, also a VF: in any thread, under locks, so it must
 * not call back and not wait.  Before the first device. */
void vfio_machine_on_change(struct vfio_machine *machine, void (*fn)(void *arg), void *arg);
/* ->rings of the machine of @dev, which may be NULL. */
struct block_rings *vfio_file_rings(struct uvfio_device *dev);
/* "MODEL[,key=value…]".  Takes the core's own keys (addr=, group=, mmio=, iommu=, poll-interrupt=)
 * out, hands the rest to the model.  A wrong model, key or value is -EINVAL with the valid ones
 * named, and so is iommu=off while enable_unsafe_noiommu_mode is N (A.9).  In a value a comma is
 * written twice. */
int vfio_machine_add_device(struct vfio_machine *machine, const char *spec,
			    struct uvfio_error *err);

/*
 * Take device @name away.  Its users are asked to give it back by the REQ interrupt, at once and
 * every 10 seconds (A.8); it cannot be opened any more.  @limit_ms milliseconds later the rest of
 * them lose it as if it were pulled out: registers and config space read as ones, writes are
 * dropped, RESET is ENOTTY, mapped BARs read as ones (of more than 16 MiB: SIGBUS), DMA and
 * interrupts stop.
 *
 * @done (may be NULL) is called once, in a thread of the machine's, when everything of the device
 * has been released: after the last file was closed and the last holder (observe.h) has put it.
 * It may call the machine.  0; -ENODEV; -EALREADY when it is being removed (an earlier limit takes
 * effect, @done is not called); -ENOMEM, -EAGAIN.
 */
#define VFIO_REMOVE_WAIT (~0u) /* no limit */
/* As if it were pulled out of its slot now, and its users asked for it afterwards, as they are when
 * the host finds out. */
#define VFIO_REMOVE_SURPRISE (~0u - 1)
int vfio_machine_remove_device(struct vfio_machine *machine, const char *name, unsigned limit_ms,
			       void (*done)(void *arg, const char *name), void *arg,
			       struct uvfio_error *err);

/* What is there.  While devices may be removed, use vfio_machine_get_devices() of observe.h, which
 * holds them. */
struct vfio_device;
unsigned vfio_machine_devices(struct vfio_machine *machine, struct vfio_device **out, unsigned max);
const char *vfio_device_name(const struct vfio_device *dev);
unsigned vfio_device_group(const struct vfio_device *dev); /* IOMMU group number */
/* It has no IOMMU: its group's node is noiommu-N (A.9). */
bool vfio_device_noiommu(const struct vfio_device *dev);
const struct uvfio_model *vfio_device_model(const struct vfio_device *dev);
struct pci_func *vfio_device_func(struct vfio_device *dev);
/* What the hardware's config space holds now.  @bytes: 4096.  @wait: for a reset, or whatever else
 * has it; else false when it is not to be had at once.  Any thread. */
bool vfio_device_hw_config(struct vfio_device *dev, uint8_t *bytes, bool wait);
/* The `mmio=` key: 'e' exact, 'p' polled, 'n' none, 0 when not given. */
int vfio_device_mmio(const struct vfio_device *dev);

/* ---- group and container files ---- */

struct vfio_group_file;
struct vfio_container;
struct vfio_device_file;

int vfio_group_open(struct vfio_machine *machine, unsigned group, struct vfio_group_file **out);
void vfio_group_release(struct vfio_group_file *gf);
int vfio_container_open(struct vfio_machine *machine, struct vfio_container **out);
void vfio_container_release(struct vfio_container *container);

/* /dev/iommu (D.3): an open, and an ioctl on it. */
struct vfio_iommufd;
int vfio_iommufd_open(struct vfio_machine *machine, struct vfio_iommufd **out);
void vfio_iommufd_release(struct vfio_iommufd *iommufd);
int vfio_iommufd_ioctl(struct vfio_iommufd *iommufd, struct vfio_client *client, unsigned cmd,
		       uint64_t arg);

/* One call for what an ioctl on a container or a group does, argument checks included.  Group calls
 * that hand out or take a file are separate, because fds are the door's. */
int vfio_container_ioctl(struct vfio_container *container, struct vfio_client *client, unsigned cmd,
			 uint64_t arg);
/* VFIO_IOMMU_UNMAP_DMA for a thread that must not wait for transfers.  -EINPROGRESS: there are some
 * to be waited for; then vfio_unmap_finish() does that, in any thread, once, and says what the
 * ioctl would have said.  The client is not used by it. */
struct vfio_unmap;
int vfio_container_unmap(struct vfio_container *container, struct vfio_client *client, uint64_t arg,
			 struct vfio_unmap **left);
int vfio_unmap_finish(struct vfio_unmap *left);
int vfio_group_get_status(struct vfio_group_file *gf, struct vfio_client *client, uint64_t arg);
/* @container NULL: the client's fd is something else. */
int vfio_group_set_container(struct vfio_group_file *gf, struct vfio_container *container);
/* The same with an iommufd in the place of a container. */
int vfio_group_set_iommufd(struct vfio_group_file *gf, struct vfio_iommufd *iommufd);
int vfio_group_unset_container(struct vfio_group_file *gf);
/* What is read of a name string at most; a longer one is -EINVAL. */
#define VFIO_NAME_BYTES 4096u
/* @arg: the client's address of the name string.  0 and *@out, or -errno. */
int vfio_group_get_device(struct vfio_group_file *gf, struct vfio_client *client, uint64_t arg,
			  struct vfio_device_file **out);

/* ---- device files ---- */

/* Where a client's accesses to mappable BARs meet the core.  The view file (view.h) is one memfd a
 * device in which BAR i lies at VFIO_REGION_OFFSET(i). */
#define VFIO_REGION_OFFSET(index)                                                                  \
	((uint64_t)((index) == VFIO_PCI_CONFIG_REGION_INDEX ? 7                                    \
		    : (index) == VFIO_PCI_NUM_REGIONS       ? 8                                    \
							    : 16 + (index))                        \
	 << 40)
/* Regions behind the kernel's fixed ones: the migration region (E.1), for devices that have it.
 * How many regions there are. */
unsigned vfio_device_nr_regions(const struct vfio_device *dev);

/* How mapped pages of registers are honoured for the files of one door. */
enum vfio_mmio_mode {
	VFIO_MMIO_EXACT,  /* pages are read-only to clients; stores are trapped by the door */
	VFIO_MMIO_POLLED, /* doorbell pages are writable and polled */
	VFIO_MMIO_NONE,   /* no MMAP flag on BARs that have registers or doorbells */
};

/* Open /dev/vfio/devices/vfioN of the device with this number (A.3).  Nothing but BIND is to be done
 * with it until it is bound.  -ENODEV; -ENXIO: it has none. */
#define VFIO_NO_CDEV (~0u)
unsigned vfio_device_cdev(const struct vfio_device *dev); /* the number, or VFIO_NO_CDEV */
int vfio_cdev_open(struct vfio_machine *machine, unsigned number, struct vfio_device_file **out);
/* The major number that it seems to have; the minor is its number. */
#define VFIO_CDEV_MAJOR 511u
/* The file that clients have of it, an fd of the core's (do not close): that of its character device,
 * or the view. */
int vfio_device_file_fd(struct vfio_device_file *df);
void vfio_device_release(struct vfio_device_file *df);
struct vfio_device *vfio_device_file_device(struct vfio_device_file *df);
/* Before the first GET_REGION_INFO; applies to this file's answers.  Polled starts the poller while
 * any polled file is open; it must be chosen before vfio_device_view_fd(): -EBUSY when this session
 * has a view that is sealed against writing (the file stays in the mode that it had). */
int vfio_device_file_set_mmio(struct vfio_device_file *df, enum vfio_mmio_mode mode);
/* A client of this file masks MSI-X vectors by writing their vector control words, four bytes each,
 * through the region; without, that is swallowed like every write to the table (A.6).  Reads are ones
 * either way.  A vector whose word was never written is delivered.  For doors whose clients cannot
 * map the table. */
void vfio_device_file_mask_vectors(struct vfio_device_file *df);
/* GET_INFO, GET_REGION_INFO and GET_IRQ_INFO say what has been known since the device was opened, or
 * since config space changed: they take no lock, so a reset or a removal that is under way neither
 * delays nor changes them, and a device that was pulled out still says what it was.  The others wait
 * for a reset.
 * GET_INFO, GET_REGION_INFO, GET_IRQ_INFO, SET_IRQS, RESET, PCI_HOT_RESET_INFO, PCI_HOT_RESET,
 * IOEVENTFD, FEATURE; -ENOTTY for others. */
int vfio_device_ioctl(struct vfio_device_file *df, struct vfio_client *client, unsigned cmd,
		      uint64_t arg);
/* read(2)/write(2) on the device file at a region's offset (A.6): the count transferred, or -errno.
 * @buf is ours. */
ssize_t vfio_device_read(struct vfio_device_file *df, uint64_t offset, void *buf, size_t len);
ssize_t vfio_device_write(struct vfio_device_file *df, uint64_t offset, const void *buf,
			  size_t len);
/* The same for a thread that must not wait.  Where the access would, for a reset that somebody has
 * begun or for another access to config space, it ends with the bytes that were done by then, or
 * with -EAGAIN when that is none: do the rest by the functions above, in a thread that may wait.
 * (What a config write itself causes is waited for: those that may stop DMA or reset the function
 * are not for these.) */
ssize_t vfio_device_read_nowait(struct vfio_device_file *df, uint64_t offset, void *buf,
				size_t len);
ssize_t vfio_device_write_nowait(struct vfio_device_file *df, uint64_t offset, const void *buf,
				 size_t len);
/* Is the device in low power (A.10), or held while an operator moves it?  The next ioctl or access
 * resumes it, and lets it be suspended again, which may wait for a reset and for DMA; or waits.  Only requests of the device's own user enter it. */
bool vfio_device_sleeps(const struct vfio_device *dev);
/* A store to mapped register memory that the door trapped: 0, or -EIO when memory is off (the
 * client gets SIGBUS), -EINVAL outside any mappable BAR.  @size 1, 2, 4, 8, naturally aligned or
 * not: the core cuts it into naturally aligned ascending pieces. */
int vfio_device_store(struct vfio_device_file *df, uint64_t offset, unsigned size, uint64_t value);
/* A trapped load from a page with read side effects. */
int vfio_device_load(struct vfio_device_file *df, uint64_t offset, unsigned size, uint64_t *value);

/* May this mmap be made (A.6)?  0, or -EINVAL and so on.  @writable: whether the client may get a
 * writable mapping of this range natively (memory areas; doorbells and pollable registers in polled
 * mode); @trap_reads: reads must be trapped too. */
int vfio_device_mmap(struct vfio_device_file *df, uint64_t offset, uint64_t len, bool shared,
		     bool *writable, bool *trap_reads);
/* The parts of BAR @index that a file of this mode may map writable without trapping: whole pages,
 * ascending, not touching one another.  How many there are; the first @max are in @out.  For doors that
 * cannot trap: in VFIO_MMIO_NONE memory areas are offered also beside registers. */
struct vfio_area {
	uint64_t offset, size;
};
unsigned vfio_device_sparse(struct vfio_device_file *df, unsigned index, struct vfio_area *out,
			    unsigned max);
/* The view file: an fd of the core's (do not close).  In exact mode, without memory areas, it is
 * sealed against writing (F_SEAL_FUTURE_WRITE), so that no client can change a page. */
int vfio_device_view_fd(struct vfio_device *dev);

/* ---- migration (E) ---- */

/* A session of a device's migration data.  It keeps the device from being removed until the last
 * close, and is ENODEV from then on. */
struct vfio_migration_file;
/* The next bytes of the state: how many, 0 at its end; or -errno: ENOMSG none now, ENODEV the session
 * has ended, EBADF it is one that is written.  Wait for the device. */
ssize_t vfio_migration_read(struct vfio_migration_file *file, void *buf, size_t len);
/* @len; -errno: EINVAL and so on it is no state of this device's, ENODEV, EBADF. */
ssize_t vfio_migration_write(struct vfio_migration_file *file, const void *buf, size_t len);
/* It is one that is read; else written. */
bool vfio_migration_saves(const struct vfio_migration_file *file);
/* A read would answer something, as poll() asks. */
bool vfio_migration_readable(struct vfio_migration_file *file);
/* PRECOPY_INFO, and -ENOTTY for anything else. */
int vfio_migration_ioctl(struct vfio_migration_file *file, struct vfio_client *client,
			 unsigned cmd, uint64_t arg);
void vfio_migration_release(struct vfio_migration_file *file);

/* ---- observation ---- */

enum vfio_event_kind {
	VFIO_EVENT_REGION_READ,
	VFIO_EVENT_REGION_WRITE,
	VFIO_EVENT_STORE,
	VFIO_EVENT_DMA_MAP,
	VFIO_EVENT_DMA_UNMAP,
	VFIO_EVENT_IRQ,
	VFIO_EVENT_FAULT,
	VFIO_EVENT_RESET,
	VFIO_EVENT_OPEN,
	VFIO_EVENT_CLOSE,
};
struct vfio_event {
	enum vfio_event_kind kind;
	const char *device; /* name, or NULL */
	const void *space;  /* DMA_MAP, DMA_UNMAP: of which container or IOAS; an identity, no more */
	uint64_t space_number; /* DMA_*, FAULT: of the address space (observe.h); 0: none */
	uint64_t a, b, c;   /* REGION_*: offset, length, first 8 bytes; STORE: offset, size, value;
			     * DMA_*: iova, size, prot; IRQ: index, vector; FAULT: iova, length,
			     * reason | write << 8; RESET: kind; OPEN/CLOSE: group */
	int result;
};
/* Have @fn called in any thread, under locks: it must not call back (but for what observe.h allows)
 * and not wait.  -ENOSPC when there are VFIO_MAX_OBSERVERS.  The second function ends it: @fn does
 * not run any more when it returns. */
#define VFIO_MAX_OBSERVERS 8u
int vfio_machine_observe(struct vfio_machine *machine,
			 void (*fn)(void *arg, const struct vfio_event *event), void *arg);
void vfio_machine_unobserve(struct vfio_machine *machine,
			    void (*fn)(void *arg, const struct vfio_event *event), void *arg);

struct vfio_device_stats {
	uint64_t reads, writes, stores, dma_ops, dma_bytes, faults, irqs, irqs_dropped, resets;
};
void vfio_device_stats(struct vfio_device *dev, struct vfio_device_stats *out);

#endif
