/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Write a PCI device in C.
 *
 * A device model is a table of functions (struct uvfio_model) and a description of the PCI
 * function that it is (struct uvfio_pci_desc).  It sees its registers, its DMA and its interrupts,
 * and nothing of who drives it: the same model serves a program that opens /dev/vfio and a VMM.
 *
 * Threads: each device has one work context.  ->work(), DMA completions, timers, ->reset() and
 * ->quiesce() run in it, one at a time.  ->reg_write() and ->reg_read() run in the thread of
 * whoever accesses the register, one at a time for a device, and may run while the work context
 * runs: they record and return.  They never wait and never do DMA; they may call the functions
 * marked [any].
 *
 * No thread belongs to a device.  Whoever finds the work context idle may run it: a thread of a
 * loop, or the thread that serves the client which has just written a register.  Then ->work() runs
 * before that store is answered: a client that polls sees the effect of its doorbell when the store
 * returns, without a thread switch, and waits for as long as ->work() takes.  So ->work() is to be
 * short: do what can be done at once, at most a budget of it (a part of a millisecond), then return
 * true; it is called again, possibly by another thread, when others have had their turn.  Never
 * wait in it or in anything else of the work context, neither for a client nor for a disk or a
 * server: start the operation, return, and go on in its completion (DMA's ->done, an eventfd, a
 * timer).  Nothing may depend on which thread runs: no thread-local state from one call to the
 * next, no lock held when a function returns.
 *
 * Registers: what a client reads is what the model last published with uvfio_reg_set(); a read
 * does not reach the model unless the area asks for it (UVFIO_AREA_READ_EVENT).  A mapped BAR page
 * is a view of these values.  What a client writes into a page is never read back as truth.
 */
#ifndef UVFIO_DEVICE_H
#define UVFIO_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <uvfio/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Raised when this header changes so that a model must be compiled anew. */
#define UVFIO_DEVICE_ABI 6

struct uvfio_device;
struct uvfio_ctx;
struct uvfio_migration_ops;
struct uvfio_stats;

/* ---- options: what stands behind `--device MODEL,key=value,…` ---- */

struct uvfio_key {
	const char *name;
	const char *arg;  /* what the value is: "PATH", "SIZE", "N", "on|off" */
	const char *help; /* one line, with unit and default */
	bool repeatable;
};

struct uvfio_option {
	const char *key;
	const char *value;
};

/* The options of one device, in the order given; every key is one of the model's.  Valid during
 * ->create() only: a model copies what it keeps. */
struct uvfio_args {
	const struct uvfio_option *options;
	unsigned nr_options;
};

/* The last value of @key, or NULL.  [any] */
UVFIO_API const char *uvfio_arg(const struct uvfio_args *args, const char *key);
/* The following parse the last value of @key into *@out and leave *@out alone when it is absent.
 * They return 0, or -EINVAL with a message that names the key, the value and what is valid.
 * Sizes take the suffixes K, M, G and T (powers of 1024). */
UVFIO_API int uvfio_arg_size(const struct uvfio_args *args, const char *key, uint64_t *out,
			     struct uvfio_error *err);
UVFIO_API int uvfio_arg_uint(const struct uvfio_args *args, const char *key, uint64_t min,
			     uint64_t max, uint64_t *out, struct uvfio_error *err);
UVFIO_API int uvfio_arg_bool(const struct uvfio_args *args, const char *key, bool *out,
			     struct uvfio_error *err);
/* In ns, from @min to @max.  Takes the suffixes ns, us, ms and s; only 0 needs none. */
UVFIO_API int uvfio_arg_time(const struct uvfio_args *args, const char *key, uint64_t min,
			     uint64_t max, uint64_t *out, struct uvfio_error *err);

/* ---- what the PCI function is ---- */

enum uvfio_area_kind {
	UVFIO_AREA_REGISTERS, /* each write is an event: seen once, in order, with its width */
	UVFIO_AREA_DOORBELLS, /* idempotent writes of which only the latest counts: may be polled */
	UVFIO_AREA_MEMORY,    /* plain memory, uvfio_bar_memory(): mapped, no events */
};

#define UVFIO_AREA_READ_EVENT (1u << 0) /* reading is an event: ->reg_read() answers */
#define UVFIO_AREA_POLLABLE                                                                        \
	(1u << 1) /* registers whose writes may be found by comparing the                          \
		   * page with what was published (never what was asked for by                     \
		   * default) */
#define UVFIO_AREA_POLL_ZERO                                                                       \
	(1u << 2) /* of pollable registers: writing 0 means nothing (as with                       \
		   * write-1-to-clear).  While they are polled a mapped page                       \
		   * shows 0 there, so that each write that means something                        \
		   * is seen, also of the value that is published */

#define UVFIO_AREA_READ_LATER                                                                      \
	(1u << 3) /* with _READ_EVENT: the answer takes time, a disk's say.                        \
		   * See ->reg_read_start() */

/* An area of a BAR.  Offset and size in bytes.  A page (4 KiB) takes the strictest class of its
 * areas; what no area covers reads as 0 and ignores writes. */
struct uvfio_area {
	uint64_t offset, size;
	enum uvfio_area_kind kind;
	unsigned flags; /* UVFIO_AREA_… */
};

#define UVFIO_BAR_MEM32    0u
#define UVFIO_BAR_MEM64    (1u << 0) /* takes BAR index and index + 1 */
#define UVFIO_BAR_IO       (1u << 1)
#define UVFIO_BAR_PREFETCH (1u << 2)
#define UVFIO_BAR_NO_MMAP  (1u << 3) /* clients must not map it (A.6): read and write only */

struct uvfio_bar_desc {
	uint64_t size; /* a power of two, ≥ 16 (memory) or ≥ 4 (I/O); 0: not implemented */
	unsigned flags;
	const struct uvfio_area *areas; /* ascending, not overlapping; the MSI-X table and PBA are
					 * the core's and may lie in any BAR outside these */
	unsigned nr_areas;
};

/*
 * A capability, declared as data.  @id < 0x100 unless extended.  For a standard capability @data
 * starts with the byte after the next pointer, for an extended one with the byte after the 4-byte
 * header.  Any id will do, also one that nobody knows: what clients see of it is A.7's business.
 *
 * An entry without data (@len 0) names a capability that the core builds from the fields of struct
 * uvfio_pci_desc: it says where it lies and, by its place in the array, where the list has it.
 *
 * The lists link the core's capabilities that are not named, then those of the array in its order.
 * Without @offset each is put at the first place where there is room.
 */
struct uvfio_cap_desc {
	bool extended;
	uint8_t version; /* extended only */
	uint16_t id;
	uint16_t len;         /* bytes in @data */
	uint16_t offset;      /* of its first byte in config space, a multiple of 4; 0: anywhere */
	const uint8_t *data;  /* initial contents */
	const uint8_t *wmask; /* bits that hardware lets software write; NULL: none */
	const uint8_t *w1c;   /* bits that software clears by writing 1; NULL: none */
};

/* Registers in config space that belong to no capability: software knows where they are.  Clients
 * reach them as they are (A.7: gaps), unless all of it is behind 0x100 without any capability. */
struct uvfio_config_area {
	uint16_t offset, len;
	const uint8_t *data;  /* initial contents; NULL: zeros */
	const uint8_t *wmask; /* as above */
	const uint8_t *w1c;
};

#define UVFIO_PM_D1 (1u << 0)
#define UVFIO_PM_D2 (1u << 1)

enum uvfio_pcie_type { /* values of the device/port type field */
		       UVFIO_PCIE_ENDPOINT = 0,
		       UVFIO_PCIE_LEGACY_ENDPOINT = 1,
		       UVFIO_PCIE_INTEGRATED_ENDPOINT =
			       9, /* of a root complex: without link registers */
};

/*
 * SR-IOV: a function that has this is a physical function (PF).  It makes virtual ones (VFs), each
 * of them a device of its own with its users, when the host enables them: see ->vf_create().  VF i
 * answers at the PF's address + @first_offset + i * @stride, in units of functions; the machine
 * keeps these addresses free, over 255 into the next bus.
 */
struct uvfio_sriov_desc {
	unsigned total_vfs;            /* 1 to 4095 */
	uint16_t vf_device;            /* device id of the VFs; their vendor is the PF's */
	uint16_t first_offset, stride; /* 0: 1 */
	/* What each VF is: memory BARs, capabilities, reset methods.  @msix_vectors is the most
	 * that one VF may have, which is how the table is laid out.  Ids, class, interrupt pin, MSI
	 * and ROM are not looked at: a VF has none of its own. */
	const struct uvfio_pci_desc *vf;
	/* VF BARs that can be resized: bit n: 1 << (n + 20) bytes is possible, besides the size in
	 * @vf; 0: fixed. */
	uint64_t vf_bar_sizes[6];
	/* MSI-X vectors that all VFs share, and how many of them one VF may have; @msix_max 0: what
	 * @vf says.  @msix_pool 0: no pool, each VF has vf->msix_vectors for good. */
	unsigned msix_pool, msix_min, msix_max;
};

/* What the function is.  Copied; must stay valid only during uvfio_device_init(). */
struct uvfio_pci_desc {
	uint16_t vendor, device, subsystem_vendor, subsystem_device;
	uint32_t class_code; /* 24 bits, e.g. 0x010802 */
	uint8_t revision;
	uint8_t interrupt_pin; /* 0 none, 1 INTA … 4 INTD */
	bool broken_intx; /* a quirk that the host knows: the pin is hidden from clients (A.3) */
	struct uvfio_bar_desc bars[6];

	/* Expansion ROM.  The image has its signature (0x55 0xAA), or clients cannot read it (A.6).
	 * An image with @rom_size 0 is a shadow: memory of the host's, no ROM BAR. */
	uint64_t rom_size; /* bytes, a power of two from 2 KiB to 16 MiB, or 0 */
	const void *rom;   /* the image, @rom_len ≤ @rom_size bytes, 0xFF behind it */
	uint64_t rom_len;

	unsigned msi_vectors;          /* 0, 1, 2, 4, 8, 16, 32 */
	bool msi_masking;              /* per-vector masking (mask and pending dwords) */
	bool msi_32bit;                /* 32-bit addresses only */
	unsigned msix_vectors;         /* 0 to 2048 */
	uint8_t msix_bar;              /* BAR of table and PBA */
	uint64_t msix_table, msix_pba; /* offsets in it, 8-byte aligned */

	/* PCI Express: its capability, 4 KiB of config space and, unless @no_aer, advanced error
	 * reporting. */
	bool pcie;
	uint8_t pcie_type;    /* enum uvfio_pcie_type */
	uint8_t pcie_version; /* of the capability: 1 or 2; 0: 2 */
	bool no_aer;
	bool flr; /* function level reset, by PCI Express */
	bool af;  /* advanced features capability: function level reset by that */

	bool pm;            /* power management: D0, D3hot */
	unsigned pm_states; /* UVFIO_PM_…: further states */
	bool no_soft_reset; /* D3hot → D0 keeps the state */

	uint64_t serial;  /* device serial number capability; 0: none */
	const void *vpd;  /* vital product data, at most 32 KiB; its capability is the core's */
	unsigned vpd_len; /* bytes, a multiple of 4; 0: none */
	unsigned vpd_rw;  /* bytes from here on may be written; @vpd_len: none */

	const struct uvfio_cap_desc *caps;
	unsigned nr_caps;
	const struct uvfio_config_area *config;
	unsigned nr_config;

	const struct uvfio_sriov_desc *sriov; /* NULL: no PF; else `pcie` is needed */
};

/* ---- the model ---- */

enum uvfio_reset_kind {
	UVFIO_RESET_POWER_ON, /* once, after create */
	UVFIO_RESET_OPEN,     /* a user opens the device */
	UVFIO_RESET_FUNCTION, /* VFIO_DEVICE_RESET or FLR */
	UVFIO_RESET_PM,       /* D3hot → D0 without NoSoftRst */
	UVFIO_RESET_BUS,      /* hot reset */
	UVFIO_RESET_CLOSE,    /* the last user closed it */
};

struct uvfio_model {
	unsigned abi; /* UVFIO_DEVICE_ABI */
	const char *name;
	const char *summary; /* one line for `uvfio models` */
	const struct uvfio_key *keys;
	unsigned nr_keys;

	/* Make a device: parse @args, call uvfio_device_init() once, and set *@priv.  Returns 0 or
	 * -errno with a message in @err; a failed create has released what it took. */
	int (*create)(struct uvfio_device *dev, const struct uvfio_args *args, void **priv,
		      struct uvfio_error *err);
	/* The device is quiet and nobody can reach it.  Wait for the backend, release everything.
	 */
	void (*destroy)(void *priv);

	/* A write of @size bytes (1, 2, 4 or 8, naturally aligned) at @offset of BAR @bar, inside
	 * one of the model's areas other than memory.  Record, publish, uvfio_kick(); return. */
	void (*reg_write)(void *priv, unsigned bar, uint64_t offset, unsigned size, uint64_t value);
	/* Optional: a read in an area with UVFIO_AREA_READ_EVENT. */
	uint64_t (*reg_read)(void *priv, unsigned bar, uint64_t offset, unsigned size);
	/*
	 * Needed for areas with UVFIO_AREA_READ_LATER, whose BAR cannot be mapped by who polls
	 * (`--mmio polled`): somebody reads there, and waits.  As
	 * ->reg_write(): record, kick, return.  The read goes on, with ->reg_read(), when
	 * uvfio_reg_read_ready() has been called with this @ticket or a later one; they count up
	 * from 1.  That must come whatever happens, a reset included, and may be at once.  Reads of
	 * another device (D.4) and of the host do not wait: for them there is ->reg_read() alone.
	 */
	void (*reg_read_start)(void *priv, unsigned bar, uint64_t offset, unsigned size,
			       uint64_t ticket);

	/* [work context] Runs after uvfio_kick(), at least once for the last of several kicks.
	 * Returns true to be called again soon (it stopped at a budget), false when done. */
	bool (*work)(void *priv);

	/* [work context] Stop starting DMA, cancel or complete what is in flight, and call
	 * uvfio_quiesced() once, now or later, when none is.  Called before each reset, when bus
	 * mastering goes off, and before the last close completes. */
	void (*quiesce)(void *priv);
	/* [work context] The device may start DMA again (bus mastering is on).  Optional. */
	void (*resume)(void *priv);
	/* [work context] Back to the state after power-on, published registers included.  The
	 * device is quiet.  Contents of UVFIO_AREA_MEMORY stay. */
	void (*reset)(void *priv, enum uvfio_reset_kind kind);

	/* Optional: software wrote @size bytes (1, 2, 4) at @offset of config space, where @desc
	 * has capabilities with data or areas of the model's.  The masks have been applied: what is
	 * there now says uvfio_config_get().  One at a time for a device, but ->reg_write() and the
	 * work context may run meanwhile: record and return. */
	void (*config_write)(void *priv, unsigned offset, unsigned size, uint32_t value);

	/* Optional: what `uvfio stats` shows of the device, reported with uvfio_stat_counter() and
	 * so on, the same names in the same order each time.  [any] thread, at any time between
	 * ->create() and ->destroy(), also while the device works or is reset: it never waits. */
	void (*stats)(void *priv, struct uvfio_stats *out);

	/* Optional: its devices can be moved while they are used (migration.h). */
	const struct uvfio_migration_ops *migration;

	/*
	 * SR-IOV; needed by a model whose functions have @sriov, and called for these (@pf is the
	 * PF's priv) in a thread that is neither's work context, one at a time for a PF.
	 *
	 * ->vfs_start(), optional: the host wants @n VFs; 0, or -errno with a message: it gets
	 * none. Then ->vf_create() for each from 0 on: @vf is what the description says, so without
	 * uvfio_device_init(); set *@priv, with which all other functions above are called for the
	 * VF, ->destroy() too, which comes before the PF's.  0 or -errno with a message, and none
	 * stays.  ->vfs_stop(), optional: the last one has been destroyed; also after a failure.
	 *
	 * A PF and its VFs have work contexts of their own, which may run at the same time: they
	 * reach each other with atomics or locks of the model's, and uvfio_kick().  What a PF knows
	 * of a VF may be used from ->vf_create() until ->destroy() of that VF returns; the PF
	 * outlives them all.  A reset of the PF resets its VFs first, each by its own ->quiesce()
	 * and ->reset(), while the PF is quiet.
	 */
	int (*vfs_start)(void *pf, unsigned n, struct uvfio_error *err);
	int (*vf_create)(void *pf, unsigned index, struct uvfio_device *vf, void **priv,
			 struct uvfio_error *err);
	void (*vfs_stop)(void *pf);
	/* Optional: VF @index is to have @n MSI-X vectors of the pool from now on; 0, or -errno and
	 * all stays as it is.  [any] thread: it never waits. */
	int (*vf_vectors)(void *pf, unsigned index, unsigned n);

	/* Optional [work context]: the host's own driver of this model takes the function (bound)
	 * or leaves it: `driver=` with the model's name, or `bind` in sysfs.  The model does what
	 * such a driver would have done by its registers, as far as others depend on it. */
	void (*host_driver)(void *priv, bool bound);
};

/*
 * A model in a shared object: `--device ./mine.so,key=value`.  It exports its model under this
 *name:
 *
 *	UVFIO_EXPORT_MODEL = {.abi = UVFIO_DEVICE_ABI, .name = "mine", …};
 *
 * The functions below are the ones of the program that loads it: the object is linked without
 * libuvfio.  It is loaded once, by the process that was started, before it forks or confines
 *itself, and never unloaded; ->create() and all else run in the server.  `uvfio models ./mine.so`
 *shows its keys.
 */
#define UVFIO_MODEL_SYMBOL "uvfio_model"
#ifdef __cplusplus
#define UVFIO_EXPORT_MODEL extern "C" UVFIO_API const struct uvfio_model uvfio_model
#else
#define UVFIO_EXPORT_MODEL UVFIO_API const struct uvfio_model uvfio_model
#endif

/* ---- what a model calls ---- */

/* Describe the function.  Once, in ->create().  0 or -EINVAL with a message. */
UVFIO_API int uvfio_device_init(struct uvfio_device *dev, const struct uvfio_pci_desc *desc,
				struct uvfio_error *err);
UVFIO_API const char *uvfio_device_name(const struct uvfio_device *dev); /* "0000:01:00.0" [any] */
UVFIO_API struct uvfio_ctx *uvfio_device_ctx(struct uvfio_device *dev);  /* [any] */

enum uvfio_log_level { UVFIO_LOG_ERROR, UVFIO_LOG_WARN, UVFIO_LOG_INFO, UVFIO_LOG_DEBUG };
UVFIO_API void uvfio_device_log(struct uvfio_device *dev, enum uvfio_log_level level,
				const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/*
 * What a model keeps its data in may have to be opened by somebody with more rights than the
 * process that it runs in: a server confines itself before it makes devices.  So a model opens
 * files and connects to servers with these, and names nothing but what its options say.
 *
 * uvfio_open() is open(2) of an existing file: @flags are O_RDONLY or O_RDWR, with O_DIRECT if
 * wanted; the descriptor is close-on-exec and was opened with O_NONBLOCK and O_NOCTTY.
 * uvfio_connect() gives a connected stream socket for @uri, nbd://HOST[:PORT]/… or
 * nbd+unix:///…?socket=PATH; -ENOSYS: connect yourself, nobody else has to.
 * Both return a descriptor, the caller's, or -errno, and may wait; @dev may be NULL.  [any] thread,
 * from ->create() to ->destroy().
 */
UVFIO_API int uvfio_open(struct uvfio_device *dev, const char *path, int flags);
UVFIO_API int uvfio_connect(struct uvfio_device *dev, const char *uri);

/* Publish a register: what every later read sees.  @size 1, 2, 4 or 8, naturally aligned.  A read
 * never sees half of it.  [any] */
UVFIO_API void uvfio_reg_set(struct uvfio_device *dev, unsigned bar, uint64_t offset, unsigned size,
			     uint64_t value);
/* What is published there.  [any] */
UVFIO_API uint64_t uvfio_reg_get(struct uvfio_device *dev, unsigned bar, uint64_t offset,
				 unsigned size);
/* Those who wait for a register with @ticket or an earlier one may read it.  [any] */
UVFIO_API void uvfio_reg_read_ready(struct uvfio_device *dev, uint64_t ticket);
/* The memory of the UVFIO_AREA_MEMORY area that starts at @offset.  Shared with clients: a value
 * may change between two reads of it.  Stays valid until ->destroy() has returned.  [any] */
UVFIO_API void *uvfio_bar_memory(struct uvfio_device *dev, unsigned bar, uint64_t offset);

/*
 * Config space where @desc has capabilities with data or areas: read what is there now, and set it,
 * whatever the masks say (the bits of @mask only).  @size 1, 2 or 4, all of it inside.  A reset
 * puts the initial contents back.  [any], once uvfio_device_init() has returned.
 */
UVFIO_API uint32_t uvfio_config_get(struct uvfio_device *dev, unsigned offset, unsigned size);
UVFIO_API void uvfio_config_set(struct uvfio_device *dev, unsigned offset, unsigned size,
				uint32_t mask, uint32_t value);
/* Where a capability lies, 0 when there is none; also the core's.  [any] */
UVFIO_API unsigned uvfio_config_cap(struct uvfio_device *dev, bool extended, unsigned id);

/* The PF of a VF; NULL: @dev is none.  [any] */
UVFIO_API struct uvfio_device *uvfio_vf_pf(struct uvfio_device *dev);
/* Which VF of its PF it is, from 0; 0 when it is none.  [any] */
UVFIO_API unsigned uvfio_vf_index(const struct uvfio_device *vf);
/* How many MSI-X vectors the VF has now: there is nothing behind them.  [any] */
UVFIO_API unsigned uvfio_vf_vectors(const struct uvfio_device *vf);
/* What a management command of the PF does: give VF @index @n vectors of the pool, without
 * ->vf_vectors() being asked.  0; -EINVAL: there is no such VF or no pool, or it is fewer than the
 * minimum; -EOVERFLOW: more than the maximum; -ENOSPC: more than the pool has left.  Never waits.
 * [any] */
UVFIO_API int uvfio_vf_set_vectors(struct uvfio_device *pf, unsigned index, unsigned n);

/* Have ->work() called soon in the work context.  [any] */
UVFIO_API void uvfio_kick(struct uvfio_device *dev);
/* Answers ->quiesce(). */
UVFIO_API void uvfio_quiesced(struct uvfio_device *dev);

/* Raise MSI or MSI-X vector @vector, whichever is enabled; with neither, nothing happens.  A
 * vector that was not granted is ignored and counted; a masked one becomes pending.  Never waits
 * for a client.  [any] */
UVFIO_API void uvfio_irq_raise(struct uvfio_device *dev, unsigned vector);
/* Assert or deassert INTx (level).  [any] */
UVFIO_API void uvfio_intx_set(struct uvfio_device *dev, bool level);
/* Send a power management event, as a device that sleeps does when something has come in for it:
 * one that low power has suspended is woken, soon, and its user's wakeup eventfd signalled (A.10).
 * An event of a device that is awake means nothing.  Never waits.  [any] */
UVFIO_API void uvfio_pme_raise(struct uvfio_device *dev);
/* True while MSI or MSI-X is the active mode.  [any] */
UVFIO_API bool uvfio_irq_is_message(struct uvfio_device *dev);

/*
 * DMA.  All of it goes through the address space of the device, under bus mastering and the
 * permissions of the mapping.
 *
 * uvfio_dma_submit() returns 0 when the transfer is already complete, in which case ->done is not
 * called; 1 when it will complete later, with ->done called in the work context and ->status set
 * (0 or -errno); or -errno when nothing was or will be transferred: -EFAULT for an address that is
 * not mapped, not permitted or in the interrupt window (recorded as a fault), -EPERM while bus
 * mastering is off, -EIO for memory that has gone, -ENOMEM.  On a failure part of the data may have
 * been transferred.  @op belongs to the core until it completes.  Only from the work context.
 *
 * A transfer goes on later where memory is reached by messages to the client, or is a process's and
 * may block, or is a device's: the registers of another one, or of this one, which are then written
 * or read in the context of whose they are (while its memory is away: -EIO).  So is its memory when
 * it cannot be had at once.  Several are then in progress at once and may complete in any order;
 * what must be seen first must have completed first.  One that a client does not answer ends with
 * -EFAULT when it unmaps the memory, with -EIO when it dies, and with -EPERM when the device must
 * become quiet.
 *
 * Order within one transfer to a client, of at most 256 bytes, at an IOVA and with a length that
 * are multiples of 16, to memory that is mapped here (files: memfd, shm, hugetlbfs): ascending, in
 * stores of 16 bytes, so that who polls the last bytes of a 16-byte entry sees it whole.  Memory of
 * other kinds gets what its copying gives: one entry a transfer is safe everywhere.  A device's
 * memory gets ascending words of 8 bytes where IOVA and length are multiples of that.
 */
struct uvfio_dma {
	uint64_t iova;
	void *buf;
	size_t len;     /* bytes */
	bool to_client; /* true: buf → IOVA; false: IOVA → buf */
	void (*done)(struct uvfio_dma *op);
	int status;
	void *core[4]; /* the core's */
};
UVFIO_API int uvfio_dma_submit(struct uvfio_device *dev, struct uvfio_dma *op);

/*
 * Pin [iova, iova+len) and get its host addresses, for a backend that reads or writes it directly.
 * Fills at most @max_iov entries and returns how many; -ENOTSUP when any of it has no host address
 * (then use uvfio_dma_submit()), -EFAULT and so on as above, -E2BIG when @max_iov is too few,
 * -EINVAL for a length of 0.
 * The memory can be truncated by its owner at any time: give the addresses only to system calls
 * (they answer EFAULT) or to uvfio_copy(), never dereference them.  uvfio_dma_unpin() soon: an
 * unmap waits for it.  Only from the work context.
 */
struct uvfio_dma_pin {
	void *core[10]; /* the core's */
};
UVFIO_API int uvfio_dma_pin(struct uvfio_device *dev, uint64_t iova, size_t len, bool to_client,
			    struct iovec *iov, int max_iov, struct uvfio_dma_pin *pin);
UVFIO_API void uvfio_dma_unpin(struct uvfio_device *dev, struct uvfio_dma_pin *pin);

/* memcpy that survives memory which a client has truncated: 0, or -EFAULT.  [any] */
UVFIO_API int uvfio_copy(void *dst, const void *src, size_t len);

/* One-shot timers of the work context; @fn runs in it.  Arming an armed timer moves it. */
struct uvfio_timer;
UVFIO_API struct uvfio_timer *uvfio_timer_new(struct uvfio_device *dev, void (*fn)(void *arg),
					      void *arg);
UVFIO_API void uvfio_timer_arm(struct uvfio_timer *timer, uint64_t ns); /* from now */
UVFIO_API void uvfio_timer_cancel(struct uvfio_timer *timer); /* @fn does not run afterwards */
UVFIO_API void uvfio_timer_free(struct uvfio_timer *timer);

/*
 * Counters and histograms.
 *
 * A counter is a plain uint64_t of the model's.  Who writes it matters: a place that one thread at
 * a time writes (anything in the work context) takes _local(), which is a load and a store; any
 * other takes the one without, a locked instruction.  Never both for the same place.  Readers are
 * any threads.
 */
static inline void uvfio_count(uint64_t *counter, uint64_t n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static inline void uvfio_count_local(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

/*
 * How often which latency occurred.  Log-linear: each power of two is cut into 8 buckets, so a
 * bucket is at most an eighth as wide as the values in it; below 16 ns each value has its own.
 * What is longer than 2^36 ns (68 s) counts as that.  2.2 KB; all zero is empty.
 */
#define UVFIO_HISTOGRAM_SUB 3u  /* log2 of the buckets a power of two */
#define UVFIO_HISTOGRAM_MAX 36u /* log2 of the first value that does not fit, ns */
#define UVFIO_HISTOGRAM_BUCKETS                                                                    \
	((UVFIO_HISTOGRAM_MAX - UVFIO_HISTOGRAM_SUB + 1) << UVFIO_HISTOGRAM_SUB)

struct uvfio_histogram {
	uint64_t bucket[UVFIO_HISTOGRAM_BUCKETS];
	uint64_t sum; /* ns */
};

static inline unsigned uvfio_histogram_bucket(uint64_t ns)
{
	unsigned log2;

	if (ns >> UVFIO_HISTOGRAM_MAX)
		return UVFIO_HISTOGRAM_BUCKETS - 1;
	if (ns < 1u << UVFIO_HISTOGRAM_SUB)
		return (unsigned)ns;
	log2 = 63u - (unsigned)__builtin_clzll(ns);
	return ((log2 - UVFIO_HISTOGRAM_SUB) << UVFIO_HISTOGRAM_SUB) +
	       (unsigned)(ns >> (log2 - UVFIO_HISTOGRAM_SUB));
}

/* The first value, in ns, that is above bucket @i. */
static inline uint64_t uvfio_histogram_bound(unsigned i)
{
	unsigned octave = i >> UVFIO_HISTOGRAM_SUB;
	uint64_t sub = i & ((1u << UVFIO_HISTOGRAM_SUB) - 1);

	if (!octave)
		return sub + 1;
	return ((1ull << UVFIO_HISTOGRAM_SUB) + sub + 1) << (octave - 1);
}

static inline void uvfio_histogram_add(struct uvfio_histogram *h, uint64_t ns)
{
	uvfio_count(&h->bucket[uvfio_histogram_bucket(ns)], 1);
	uvfio_count(&h->sum, ns);
}

static inline void uvfio_histogram_add_local(struct uvfio_histogram *h, uint64_t ns)
{
	uvfio_count_local(&h->bucket[uvfio_histogram_bucket(ns)], 1);
	uvfio_count_local(&h->sum, ns);
}

/*
 * Report in ->stats().  @name: [a-z][a-z0-9_]*, without a prefix and, for a counter, without
 * "_total": "commands", "read_bytes".  A histogram is one of ns; its name ends in "_seconds", which
 * is what is shown.  @help: one line; what a name means is said once, so the same for all of one
 * name.  Both are literals: they are kept as pointers.  @labels: what tells the values of one name
 * apart, as printf format: "queue=%u,op=%s"; NULL: nothing.  A label's value may hold anything but
 * a comma.
 */
UVFIO_API void uvfio_stat_counter(struct uvfio_stats *out, const char *name, const char *help,
				  uint64_t value, const char *labels, ...)
	__attribute__((format(printf, 5, 6)));
/* A value that goes up and down. */
UVFIO_API void uvfio_stat_gauge(struct uvfio_stats *out, const char *name, const char *help,
				uint64_t value, const char *labels, ...)
	__attribute__((format(printf, 5, 6)));
UVFIO_API void uvfio_stat_histogram(struct uvfio_stats *out, const char *name, const char *help,
				    const struct uvfio_histogram *histogram, const char *labels,
				    ...) __attribute__((format(printf, 5, 6)));

#ifdef __cplusplus
}
#endif

#endif
