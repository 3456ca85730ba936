/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of this room share.  Nobody else includes it.
 *
 * Locks, in the order in which they are taken:
 *
 *   machine->add_lock   adding a device, which may take as long as its backend takes to open
 *   pf->sriov_lock      sriov->lock of a PF: who may change its VFs
 *   machine->lock       lists of models, devices and groups; which group is in which container; how
 *                       many device files a group has; where BARs are.  Held for a few
 *                       instructions, never across a call into a device, a client or another room
 *                       that waits, and no config_lock is taken under it: so it may be taken
 *                       under one, as where the BARs of VFs are placed.
 *   dev->open_lock      open and close of a device: the number of files that it has
 *   dev->config_lock    real and virtual config space, and everything that follows from them: what
 *                       the device may do (memory, bus mastering, interrupts), resets.  Held while
 *                       a reset or a COMMAND write waits for the device to become quiet, so that
 *                       config accesses wait for a reset as A.5 says.  Nothing that a device model
 *                       calls takes it.  A PF's comes before those of its VFs.
 *   the mutex of the device's irq_set; nothing that is called under it takes config_lock, so that
 *                       the last close can shut interrupts off under config_lock
 *   pool->host, ->lock  vectors of VFs (vectors.c): the first before machine->lock, the second a
 *                       leaf
 *   dev->reg_lock       accesses to BARs and the state of the memory gate
 *   dev->poller.lock    what the poller last saw in the pages
 *   machine->memory_lock  which file is which device's memory, and the peers there are
 *                       (device_memory.h); a leaf.  A peer's own lock comes before reg_lock, which
 *                       is only tried for within it
 *   dev->quiet_lock     the model's answer to ->quiesce(), the number of transfers in flight
 *
 * Atomics: dev->dma_on, dev->space and dev->power_d0 are written under config_lock, dev->irq_mode
 * under the irq_set's mutex; they are read anywhere.  A shadow register is
 * read and written atomically by whoever likes.
 */
#ifndef UVFIO_VFIO_MACHINE_PRIVATE_H
#define UVFIO_VFIO_MACHINE_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include "base/ctx.h"
#include "base/log.h"
#include "base/trash.h"
#include "iommu/type1.h"
#include "irq/irq.h"
#include "pci/pci.h"
#include "pci/vconfig.h"
#include "vfio/bar.h"
#include "vfio/client.h"
#include "vfio/device_memory.h"
#include "vfio/dma_log.h"
#include "vfio/group.h"
#include "vfio/hold.h"
#include "vfio/host.h"
#include "vfio/keep.h"
#include "vfio/low_power.h"
#include "vfio/migrate.h"
#include "vfio/observe.h"
#include "vfio/spec.h"
#include "vfio/token.h"
#include "vfio/vfio.h"
#include "vfio/view.h"
#include "vfio/vfio_uapi.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define PAGE_BYTES    4096ull
#define PAGE_ROUND(x) (((x) + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1))

#define BUS_RESET_OFF "off"

#define MAX_LOOPS     16
#define MAX_DEVICES   65536u

/* Where firmware places BARs. */
#define FIRST_MEM32 0x80000000ull
#define END_MEM32   0xFEC00000ull
#define FIRST_MEM64 0x4000000000ull
#define END_MEM64   (1ull << 52)
#define FIRST_IO    0x1000u
#define END_IO      0x10000u

/* ---- machine ---- */

struct observer {
	void (*fn)(void *arg, const struct vfio_event *event);
	void *arg;
};

struct vfio_machine {
	struct vfio_policy policy; /* as given; constant */
	struct uvfio_log *log;
	struct vfio_file_ops file_ops; /* constant once there are devices */

	pthread_mutex_t add_lock;
	pthread_mutex_t lock;
	struct vfio_policy knobs; /* as they are now; under lock */
	atomic_uint taint;        /* 1 << VFIO_TAINT_… */
	struct uvfio_ratelimit refused_limit;
	const struct uvfio_model **models;
	unsigned nr_models;
	struct vfio_device **devices; /* in the order of their making */
	unsigned nr_devices;
	struct vfio_group **groups;
	unsigned nr_groups;
	unsigned next_bus;   /* counts up through all domains: domain << 8 | bus */
	uint64_t next_mem32; /* where the next BAR goes, as firmware would place it */
	uint64_t next_mem64;
	uint64_t next_io;

	/* One a device while that is possible, so that a device which is stuck in its client's
	 * memory holds up no other. */
	struct uvfio_loop *given_loop; /* for all devices; constant once there are devices */
	struct uvfio_loop *loops[MAX_LOOPS];
	unsigned loop_users[MAX_LOOPS]; /* devices; under lock */
	unsigned nr_loops;

	pthread_rwlock_t observer_lock;
	struct observer observers[VFIO_MAX_OBSERVERS]; /* without gaps */
	atomic_uint nr_observers;

	pthread_mutex_t memory_lock; /* a leaf; of the table, and see device_memory.h */
	struct memory_files memory_files[MEMORY_FILE_BUCKETS];
	atomic_uint nr_exports; /* changed under memory_lock */

	struct user_account *user_accounts; /* iommufd_locked.c; under lock */
	struct iommu_space *blocked;        /* empty: of devices that are attached to nothing */
	struct uvfio_trash *trash; /* of address spaces whose last user was one that looked */

	pthread_cond_t watch_cond;   /* a device has lost its last watcher */
	uint64_t last_serial;        /* of a device; under lock */
	_Atomic uint64_t last_space; /* number of an address space */
	unsigned uio_first;          /* the first uioN */
	atomic_uint changes;         /* counts devices that came or went */
	void (*changed)(void *arg);  /* is called then; constant once there are devices */
	void *changed_arg;

	/* unplug.c; under lock */
	struct removal *removals;
	pthread_cond_t removal_cond; /* CLOCK_MONOTONIC */
	uint64_t req_interval_ns;
	pthread_t remover;
	bool remover_started, remover_stop;
	unsigned removal_threads; /* besides the remover */
};

/* machine.c: a device has come or gone.  machine->lock held. */
void machine_changed_locked(struct vfio_machine *machine);
void machine_emit(struct vfio_machine *machine, const struct vfio_event *event);
/* policy.c */
/* What CAP_SYS_RAWIO allows (A.9): the capabilities of this machine's clients are its policy's. */
bool machine_may_rawio(const struct vfio_machine *machine);
/* Give a new address space its number. */
void machine_number_space(struct vfio_machine *machine, struct iommu_space *space);
void machine_add_taint(struct vfio_machine *machine, enum vfio_taint taint);
static inline bool machine_observed(struct vfio_machine *machine)
{
	return atomic_load_explicit(&machine->nr_observers, memory_order_relaxed);
}

/* A loop for one more device.  add_lock held.  NULL with a message. */
struct uvfio_loop *machine_choose_loop(struct vfio_machine *machine, struct uvfio_error *err);
/* A device that used @loop has gone. */
void machine_put_loop(struct vfio_machine *machine, struct uvfio_loop *loop);
/* All of the following with machine->lock held. */
/* The next bus that nobody uses, function 0 of device 0. */
void machine_next_bus_locked(struct vfio_machine *machine, struct pci_addr *addr);
/* Is there room for @n more devices?  0, -ENOSPC, -ENOMEM. */
int machine_room_locked(struct vfio_machine *machine, unsigned n);
/* A number above those of all groups. */
unsigned machine_next_group_locked(const struct vfio_machine *machine);
/* Let @dev into the machine, for which there is room, and into the group @number.  0; -ENOMEM;
 * -EINVAL: the group has an IOMMU and @dev none, or the other way round. */
int machine_attach_locked(struct vfio_machine *machine, struct vfio_device *dev, unsigned number,
			  bool noiommu);
/* Take it out again; its group, too, when that has become empty. */
void machine_detach_locked(struct vfio_device *dev);

/* ---- device ---- */

/* May BARs be accessed (A.6: memory enabled)? */
enum mem_gate {
	MEM_OFF, /* decode off, D3hot: accesses fail with EIO */
	MEM_ON,
	MEM_WAIT, /* in reset: accesses wait; what is mapped stays */
	MEM_DEAF, /* on for the user, but the hardware does not decode: nobody answers */
};

struct ioeventfd;

/* The latest faults; see observe.h. */
struct fault_ring {
	pthread_mutex_t lock; /* a leaf */
	uint64_t total;
	struct vfio_fault_record records[VFIO_FAULT_RECORDS];
};

/* What is wrong on demand: mishap.c. */
struct mishap {
	atomic_uint faults, stuck_resets; /* still to happen */
	_Atomic uint64_t slow_ns;
	pthread_mutex_t lock; /* a leaf; what follows */
	pthread_cond_t cleared;
	unsigned clears; /* how often all was cleared */
	uint64_t stuck_ns;
};

struct stats {
	_Atomic uint64_t reads, writes, stores, dma_ops, dma_bytes, faults, resets;
};

/* See unplug.c. */
enum device_state {
	DEVICE_PRESENT,
	DEVICE_UNBOUND, /* no driver has it (host.h) */
	DEVICE_UIO,     /* uio_pci_generic has it (uio.h) */
	DEVICE_STUB,    /* pci-pf-stub has it (host.h) */
	DEVICE_MODEL,   /* the host's own driver of its model has it */
	DEVICE_ASKED,
	DEVICE_CUT,
	DEVICE_LEFT,
	NR_DEVICE_STATES
};

struct vfio_device {
	struct vfio_machine *machine;
	struct vfio_group *group;
	struct uvfio_loop *loop;
	/* Written under machine->lock; CUT: under config_lock.  See device_set_state(). */
	_Atomic(enum device_state) state;
	_Atomic(enum vfio_driver) driver; /* follows it; stays while it is taken away */
	bool host_bound;                  /* ->host_driver() was called so; in its work context */
	struct sriov *sriov;              /* of a PF; constant once it is made */
	struct vector_pool *pool;         /* of a PF (vectors.c); NULL: none */
	struct {
		uint64_t first, end;
	} vf_bars[NR_BARS];         /* of a PF: where the BARs of its VFs are */
	struct vfio_device *physfn; /* of a VF, which it outlives; constant */
	unsigned vf_index;
	struct removal *removal; /* of a VF: its own, made with it */
	bool addr_auto;          /* nobody has asked for the address */
	bool acs_off;            /* the acs= key: its VFs are in its group */
	char name[16];
	uint64_t serial; /* no two devices of a machine have the same */
	struct pci_addr addr;
	int mmio;            /* the mmio= key */
	char bus_reset[32];  /* the bus-reset= key; "": as the bus is */
	uint64_t poll_ns;    /* the poll-interrupt= key; 0: none */
	uint64_t vf_poll_ns; /* of a PF: what its VFs have */
	bool nointxmask;     /* the knob, when the device was made */

	const struct uvfio_model *model;
	void *priv;
	struct uvfio_ctx *ctx;
	struct uvfio_work work;
	bool ended; /* the model's work() runs no more: a PF may kick a VF that is going.  @ctx's */

	struct pci_func *func; /* NULL until uvfio_device_init() */
	struct irq_set *irqs;
	struct bar bars[NR_BARS];
	uint8_t *rom; /* an image that the host can read */
	uint64_t rom_len;
	uint64_t rom_size; /* of its region; 0: no image */

	pthread_mutex_t open_lock;
	unsigned open_count;

	pthread_mutex_t config_lock;
	struct pci_vconfig *vconfig; /* while open */
	uint8_t *saved;              /* the private copy of config space made at open */
	bool reset_works;            /* remembered at open (A.3) */
	atomic_bool no_reset;        /* the host has taken its reset methods away (host.h) */
	atomic_bool in_reset;        /* between device_reset_prepare() and _done() */
	atomic_uint host_resets;     /* resets that somebody else has asked for */
	bool needs_reset;            /* set at close, cleared by a reset that succeeded */
	unsigned msix_window;        /* entries of the MSI-X table, when it was opened (A.3) */
	bool flr_requested;          /* the user wrote an FLR bit; done when the write is */
	atomic_bool low_power;       /* LOW_POWER_ENTRY (A.10); written under config_lock */
	atomic_bool suspended;       /* by it, for as long as nobody calls */
	bool no_idle_d3;             /* the knob disable_idle_d3, when the device was made */
	int wakeup_fd;               /* to be signalled when low power ends, or -1 */
	struct device_pme pme;
	unsigned power_state;      /* what was last put into effect */
	bool running;              /* bus mastering is in effect: the model was resumed */
	uint64_t irq_mode_applied; /* the irq_mode that config space shows */
	struct view view;
	unsigned untrapped; /* files that are not in exact mode; under config_lock */
	struct poller poller;
	struct device_memory memory;
	struct ioeventfd *ioeventfds;
	unsigned nr_ioeventfds;

	pthread_mutex_t reg_lock;
	atomic_uint reg_wanted; /* who waits for it, so that initiators let it be */
	pthread_cond_t mem_cond;
	enum mem_gate mem;
	uint64_t read_ticket; /* the last that was given out; under reg_lock */
	uint64_t read_ready;  /* those up to this one may read; under quiet_lock */

	pthread_mutex_t quiet_lock;
	pthread_cond_t quiet_cond;
	bool quiesce_pending;
	atomic_uint inflight; /* transfers and pins */
	atomic_bool inflight_waited_for;

	/* INTx from a timer (poll_irq.c); NULL: none. */
	struct uvfio_timer *poll_irq_timer;
	atomic_bool poll_irq_on;

	atomic_bool dma_on;
	atomic_bool power_d0;
	atomic_uint irq_counts[2];           /* of INTX, MSI, as config space says */
	atomic_uint accesses;                /* calls on the file that are under way */
	_Atomic uint64_t irq_mode;           /* (mode + 1) << 32 | vectors */
	_Atomic(struct iommu_space *) space; /* while open */
	_Atomic uint64_t space_number;       /* its number; written where @space is */
	struct backend *backend;             /* keeps @space; under open_lock */
	/* Bound to an iommufd in place of that (iommufd.h).  Written under machine->lock; the file
	 * that is bound may read the first two without. */
	struct vfio_iommufd *iommufd;
	struct iommufd_object *idev;
	struct ioas *ioas;              /* keeps @space */
	bool attached;                  /* the owner's attach_lock */
	struct iommu_cache iommu_cache; /* of the work context */
	struct iommu_user dma_user;     /* transfers by messages */
	struct dma_logging dma_logging;
	struct device_migration migration; /* under config_lock */
	struct device_keep *kept;          /* ditto (keep.h); NULL: nothing */
	struct device_hold hold;           /* its users wait */
	/* Of the HWPT that it is attached to; NULL: none that tracks.  Changed while nothing is in
	 * flight. */
	_Atomic(struct dma_logging *) hwpt_dirty;

	struct host_maps *host_maps; /* host_map.c */
	bool host_mapped;            /* somebody maps BARs as the host; under config_lock */
	bool uio_open;               /* it is open for uio, not for VFIO; under open_lock */
	struct uio *uio;             /* in DEVICE_UIO; under machine->lock */
	struct vf_token token;

	struct stats stats;
	struct mishap mishap;
	struct fault_ring faults;
	unsigned watchers;              /* vfio_machine_get_device(); under machine->lock */
	unsigned users;                 /* files, opens under way; under machine->lock */
	struct vfio_device_file *files; /* oldest first; under machine->lock */
	struct uvfio_ratelimit fault_limit, log_limit;
};

#include "vfio/device_file.h"

/* Emit an event of @dev when somebody observes. */
void device_emit(struct vfio_device *dev, enum vfio_event_kind kind, uint64_t a, uint64_t b,
		 uint64_t c, int result);

/* device.c: making one.  On failure nothing is left. */
int device_new(struct vfio_machine *machine, const struct uvfio_model *model,
	       const struct pci_addr *addr, const struct device_spec *spec, struct uvfio_loop *loop,
	       struct vfio_device **out, struct uvfio_error *err);
/* VF @index of @pf, with its own address.  add_lock and sriov_lock held. */
int device_new_vf(struct vfio_device *pf, unsigned index, struct uvfio_loop *loop,
		  struct vfio_device **out, struct uvfio_error *err);
void device_free(struct vfio_device *dev);
/* Run @fn in the work context and wait for it. */
void device_call(struct vfio_device *dev, void (*fn)(struct vfio_device *dev, void *arg),
		 void *arg);

/* device_state.c: all with config_lock held. */
/* Put into effect what config space now says: power, bus mastering, memory, interrupts. */
void device_apply(struct vfio_device *dev);
/* Read irq_counts from config space. */
void device_count_irqs(struct vfio_device *dev);
/* Stop the device and wait until none of its DMA is in flight. */
void device_quiesce(struct vfio_device *dev);
/* Set the memory gate, and the view with it.  Behind a gate that is not MEM_ON it is revoked. */
void device_memory(struct vfio_device *dev, enum mem_gate gate);
/* The same gate, for a view that is new. */
void device_memory_show(struct vfio_device *dev);
/* Change the power state (A.7, PM); a function without NoSoftRst loses its state on the way back.
 */
void device_power(struct vfio_device *dev, unsigned state);

/* device_reset.c, with config_lock held. */
/* The function's reset, config space kept (A.3, A.5).  0, or -ENOTTY without a method. */
int device_function_reset(struct vfio_device *dev, enum uvfio_reset_kind kind);
bool device_can_reset(struct vfio_device *dev);
/* VFIO_RESET_… (host.h): what there is; the capabilities do not change, so any thread. */
unsigned device_reset_methods(struct vfio_device *dev);
/* The two halves of it: quiet and everything shut off; the reset itself, with config space restored
 * or, if not @restore, lost. */
void device_reset_prepare(struct vfio_device *dev);
void device_reset_done(struct vfio_device *dev, enum uvfio_reset_kind kind, bool restore);
/* hot_reset.c: functions that are reset together.  A bus has at most 32 devices of 8 functions, and
 * a name is given to no more. */
#define MAX_SET 256
/* What is reset with @dev, VFs among them, in the order in which functions are locked.  Returns how
 * many there are, at most @max of them in @out, held: reset_set_put(); @out NULL: all are counted.
 */
unsigned reset_set(struct vfio_device *dev, struct vfio_device **out, unsigned max);
void reset_set_put(struct vfio_device **devs, unsigned n);
/* Reset all, and leave what is open with its config space lost: nobody told VFIO. */
void reset_set_lose(struct vfio_device **devs, unsigned n);
/* Is @dev's bus its own, and can it be reset? */
bool reset_set_alone(struct vfio_device *dev);
/* May a device with this bus-reset= (NULL: not given) be added at @addr?  -EINVAL with a message.
 */
int reset_set_check(struct vfio_machine *machine, const struct pci_addr *addr, const char *name,
		    struct uvfio_error *err);
/* After the last close, without locks: a set of which nothing is open is reset when need be. */
void device_close_set(struct vfio_device *dev);
int device_ioctl_reset(struct vfio_device *dev);
/* Of a file that a character device opened, by what its iommufd owns; else by groups. */
int device_ioctl_hot_reset_info(struct vfio_device_file *df, struct vfio_client *client,
				uint64_t arg);
int device_ioctl_hot_reset(struct vfio_device_file *df, struct vfio_client *client, uint64_t arg);

/* device_feature.c */
int device_ioctl_feature(struct vfio_device *dev, struct vfio_client *client, uint64_t arg);
/* device_export.c: FEATURE DMA_BUF (D.4), whose payload is at the client's address @data. */
int device_export_get(struct vfio_device *dev, struct vfio_client *client, uint64_t data);

/* bar.c: what lies where.  @dev's registers; no lock. */
int bar_init(struct vfio_device *dev, struct uvfio_error *err);
/* Room for @size bytes, a multiple of @align, for BAR @index (UVFIO_BAR_… @flags) in the machine's
 * address space.  0, or -ENOSPC with a message. */
int bar_find_place(struct vfio_device *dev, unsigned index, unsigned flags, uint64_t size,
		   uint64_t align, uint64_t *at, struct uvfio_error *err);
void bar_fini(struct vfio_device *dev);
/* The range that contains @off; *@end is where it ends (a hole ends where the next one starts). */
const struct range *bar_range(const struct bar *bar, uint64_t off, uint64_t *end);
bool bar_mappable(const struct vfio_device *dev, unsigned index, enum vfio_mmio_mode mode);
uint64_t shadow_load(const struct bar *bar, uint64_t off, unsigned size);
/* Decode a file offset; -EINVAL for one that belongs to no region. */
int region_decode(uint64_t offset, unsigned *index, uint64_t *pos);

/* poll_irq.c: once, before the function is made of @desc; of a VF, which its PF has given a pin,
 * once it has its context; for good; and with config_lock held. */
int poll_irq_init(struct vfio_device *dev, struct uvfio_pci_desc *desc, struct uvfio_error *err);
int poll_irq_init_vf(struct vfio_device *vf, struct uvfio_error *err);
void poll_irq_fini(struct vfio_device *dev);
void poll_irq_apply(struct vfio_device *dev);

/* dma.c, not in the work context. */
/* Shut the device's DMA off, and end those transfers that wait for somebody's answer. */
void dma_abandon(struct vfio_device *dev);
/* That, and wait until none is in flight. */
void dma_stop(struct vfio_device *dev);

/* mishap.c */
void mishap_init(struct vfio_device *dev);
void mishap_fini(struct vfio_device *dev);
/* One of @count, if there is one left. */
bool mishap_take(atomic_uint *count);
/* A reset that fails; false: none does.  config_lock held, and kept while it is stuck. */
bool mishap_reset(struct vfio_device *dev);
void mishap_clear(struct vfio_device *dev);
void mishap_sleep(uint64_t ns);
static inline bool mishap_is_slow(struct vfio_device *dev)
{
	return __builtin_expect(
		atomic_load_explicit(&dev->mishap.slow_ns, memory_order_relaxed) != 0, 0);
}
/* Before an access to a BAR, without locks. */
static inline void mishap_slow(struct vfio_device *dev)
{
	if (mishap_is_slow(dev))
		mishap_sleep(atomic_load(&dev->mishap.slow_ns));
}

/* unplug.c: the removal that VF @dev needs one day, so that it cannot fail.  0 or -ENOMEM. */
int removal_new(struct vfio_device *dev);
/* Finish what is being removed (nothing is open) and end the thread. */
void unplug_stop(struct vfio_machine *machine);
/* The thread that unplug_stop() ends.  machine->lock held.  0 or -errno. */
int unplug_start_locked(struct vfio_machine *machine);
/* Change the state, and the driver and the token (C) that go with it; also of a device that comes
 * into being.  machine->lock held, but for DEVICE_CUT. */
void device_set_state(struct vfio_device *dev, enum device_state state);
/* Give a device that no driver has to one: @to is DEVICE_PRESENT (vfio-pci), _UIO, _STUB or _MODEL.
 * machine->lock held.  -EBUSY: one has it, its group is another driver's user's, or (vfio-pci) it
 * has VFs already (A.2); -ENODEV: gone. */
int device_take_locked(struct vfio_device *dev, enum device_state to);
/* driver.c: tell the model whether the host's own driver has the device now.  Waits for its work
 * context. */
void device_host_driver(struct vfio_device *dev);
/* reg_lock, for who may wait for it: those that copy into the device's memory (D.4) could otherwise
 * have it all the time. */
static inline void device_lock_regs(struct vfio_device *dev)
{
	if (__builtin_expect(!pthread_mutex_trylock(&dev->reg_lock), 1))
		return;
	atomic_fetch_add(&dev->reg_wanted, 1);
	pthread_mutex_lock(&dev->reg_lock);
	atomic_fetch_sub(&dev->reg_wanted, 1);
}
/* Was the device pulled out? */
static inline bool device_is_cut(const struct vfio_device *dev)
{
	return atomic_load(&((struct vfio_device *)(uintptr_t)dev)->state) >= DEVICE_CUT;
}

/* observe.c */
void observe_file(struct vfio_device_file *df, const struct vfio_client *client); /* opened */
void observe_file_closed(struct vfio_device_file *df);
void observe_fault(struct vfio_device *dev, const struct iommu_fault *fault, int result);
/* The device was taken out of the machine: wait until nobody looks at it any more. */
void observe_wait(struct vfio_device *dev);

/* host_map.c */
int host_maps_init(struct vfio_device *dev);
void host_maps_fini(struct vfio_device *dev);
/* Those that there are answer SIGBUS from now on.  open_lock held. */
void host_maps_revoke(struct vfio_device *dev);
void host_map_release(struct vfio_device_file *df);
/* Bracket the use of a file's device, which is NULL when it was taken away. */
struct vfio_device *file_enter(struct vfio_device_file *df);
void file_leave(struct vfio_device_file *df);

/* iommufd_locked.c */
void iommufd_accounts_free(struct vfio_machine *machine);

/* container.c: of an address space in which nothing is ever mapped; NULL: out of memory. */
struct backend *backend_new_empty(void);

/* ioeventfd.c: config_lock held for the last. */
int device_ioctl_ioeventfd(struct vfio_device_file *df, struct vfio_client *client, uint64_t arg);
void ioeventfd_free_all(struct vfio_device *dev);

#endif
