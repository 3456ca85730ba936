/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tree is made of: directories, which have static entries (a table) and maybe further ones
 * (an entry a function, say), and for each file how it is shown and stored.  Private to src/sysfs.
 *
 * A node is named by a number that says directory, object and entry, so that nothing has to be kept
 * for what a client has looked up: a function that has gone is not found any more.
 *
 * Locks: sysfs->lock is over everything here.  Shows and fast stores run with it; they take no lock
 * of the core that is held for long.  Jobs run without it (jobs.c).
 */
#ifndef UVFIO_SYSFS_TABLE_H
#define UVFIO_SYSFS_TABLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include "sysfs/sysfs.h"
#include "vfio/host.h"
#include "vfio/observe.h"

#define SYSFS_PAGE 4096u /* bytes that a text file shows or takes at most */

enum sysfs_dir {
	DIR_ROOT,
	DIR_BUS,
	DIR_PCI,
	DIR_PCI_DEVICES, /* a link a function; and those of the configuration */
	DIR_DRIVERS,
	DIR_DRIVER, /* object: DRIVER_…; a link a function that is bound */
	DIR_SLOTS,
	DIR_SLOT, /* object: domain << 8 | bus */
	DIR_DEVICES,
	DIR_FUNCTIONS,
	DIR_FUNCTION, /* object, from here …: the function's id; a link a VF */
	DIR_POWER,
	DIR_MSI_IRQS,
	DIR_UIO,
	DIR_UIO_N,
	DIR_VFIO_DEV,
	DIR_VFIO_DEV_N,
	DIR_VFIO_DEV_POWER,
	DIR_UVFIO, /* … to here */
	DIR_KERNEL,
	DIR_GROUPS,
	DIR_GROUP,         /* object: its number */
	DIR_GROUP_DEVICES, /* ditto; a link a function */
	DIR_MODULES,
	DIR_MODULE, /* object: which one */
	DIR_PARAMETERS,
	DIR_MODULE_DRIVERS,
	DIR_CLASS,
	DIR_CLASS_UIO, /* a link a function that uio has */
	DIR_NODES,     /* a file of type SYSFS_UIO a function that uio has */
	NR_DIRS
};

enum sysfs_type { SYSFS_DIR, SYSFS_LINK, SYSFS_TEXT, SYSFS_BINARY, SYSFS_UIO };

/* Objects of DIR_MODULE; those from MODULE_UIO on have no parameters. */
enum sysfs_module {
	MODULE_VFIO,
	MODULE_VFIO_TYPE1,
	MODULE_VFIO_PCI,
	MODULE_UIO,
	MODULE_UIO_PCI,
	NR_MODULES
};

/* Objects of DIR_DRIVER; from DRIVER_MODEL on the host's own drivers, of the machine's models in
 * their order. */
#define DRIVER_VFIO     0u
#define DRIVER_UIO      1u
#define DRIVER_STUB     2u
#define DRIVER_MODEL    3u
#define SYSFS_NO_DRIVER (~0u)

struct sysfs_entry;
struct function;

struct sysfs_node {
	enum sysfs_dir dir; /* the directory that it is, or lies in */
	uint64_t object;    /* of that directory */
	/* NULL: it is the directory.  &sysfs_further: a link among the further entries. */
	const struct sysfs_entry *entry;
	uint64_t which; /* further entries: the function's id, or where the others begin */
	struct function
		*f; /* the directory's, or the link's; NULL: none.  While the lock is held */
};

struct job_list;

/* What a store leaves to be done without the lock, by a thread of @f. */
struct job;
typedef ssize_t (*sysfs_job_fn)(struct sysfs *fs, struct job *job, struct vfio_device *dev);

enum sysfs_queue {
	QUEUE_DRIVER, /* one at a time, as under the kernel's device lock */
	QUEUE_CONFIG,
	NR_QUEUES
};

struct sysfs_store {
	const char *text; /* ends with a 0 behind @len bytes */
	size_t len;
	bool admin; /* the caller has CAP_SYS_ADMIN, see sysfs.h */
	/* Set with -EINPROGRESS. */
	struct function *f;
	sysfs_job_fn later;
	uint64_t arg; /* the job's offset */
};

struct sysfs_entry {
	const char *name;
	enum sysfs_type type;
	uint16_t mode; /* permissions */
	uint8_t dir;   /* SYSFS_DIR: which */
	bool live;     /* programs wait for it to change: not in a snapshot */
	uint32_t arg;  /* for the functions: which of several alike */
	bool (*present)(struct sysfs *fs, const struct sysfs_node *node);  /* NULL: always */
	uint64_t (*size)(struct sysfs *fs, const struct sysfs_node *node); /* NULL: a page */
	/* Bytes in @out, or -errno.  A link's target has no line end. */
	ssize_t (*show)(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size);
	/* What write(2) returns, or -errno; -EINPROGRESS: a job does it.  NULL: -EIO. */
	ssize_t (*store)(struct sysfs *fs, const struct sysfs_node *node, struct sysfs_store *s);
};

extern const struct sysfs_entry sysfs_further;
extern const struct sysfs_entry function_entries[], power_entries[], vfio_dev_entries[],
	vfio_dev_n_entries[], bus_entries[], driver_entries[], slot_entries[], group_entries[],
	module_entries[], parameter_entries[], module_driver_entries[], uio_n_entries[],
	uvfio_entries[];

/* ---- functions ---- */

#define RESET_METHODS 8

struct function {
	struct function *next; /* ids ascend */
	uint64_t id;           /* the device's serial number */
	unsigned refs;         /* the list, and jobs */
	char name[16];
	unsigned group;
	bool noiommu;  /* which is one of no-IOMMU mode (A.9) */
	unsigned slot; /* domain << 8 | bus */
	uint64_t pf;   /* of a VF: the id of its PF; else 0 */
	unsigned vf;   /* which of the PF's it is, from 0 */
	bool is_pf, ari;
	unsigned model; /* which of the machine's */
	bool removed;   /* by `remove`: not shown until a rescan */
	bool bus_knows; /* its ids are in the machine still */
	struct {
		uint16_t vendor, device, subvendor, subdevice;
		uint32_t class;
		uint8_t revision, pin;
		bool pm;
	} ids;
	unsigned config_size, exp; /* bytes; offset of the PCI Express capability, or 0 */
	uint32_t link;             /* its link capabilities */
	uint16_t link_status;
	uint64_t rom_size;
	struct function_bar {
		uint64_t address, size;
		unsigned flags;
	} bars[6];

	char *driver_override; /* NULL: "(null)" */
	unsigned enabled;      /* how often `enable` was written with 1 */
	bool parity, no_d3cold, no_msi, power_on, rom_on;
	uint8_t methods[RESET_METHODS], nr_methods; /* of names in function.c */
	bool no_methods;                            /* the list was emptied */

	struct job *queues[NR_QUEUES];
	bool running[NR_QUEUES]; /* a thread works on the queue */
};

struct dynamic_id {
	unsigned driver;
	uint32_t vendor, device, subvendor, subdevice, class, mask;
};

/* A file whose owner or mode were changed. */
struct changed {
	uint64_t ino;
	mode_t mode;
	uid_t uid;
	gid_t gid;
};

#define MAX_DYNAMIC_IDS 256u
#define MAX_CHANGED     4096u

struct sysfs {
	struct sysfs_config config;
	char path[64];  /* "devices/…", where the functions are */
	unsigned depth; /* of that directory below the root */
	time_t started;
	struct uvfio_ratelimit log_limit;

	pthread_mutex_t lock;
	pthread_cond_t changed_cond; /* jobs ended; something to be looked at by one that waits */
	struct function *functions;  /* by their ids; the same as arrays: */
	struct function **by_id, **by_name; /* nr_functions */
	unsigned nr_functions;
	unsigned machine_changes; /* of which ->functions knows; 0 at first */
	bool synced;
	bool autoprobe;
	struct dynamic_id ids[MAX_DYNAMIC_IDS];
	unsigned nr_ids;
	struct changed changed[MAX_CHANGED];
	unsigned nr_changed;

	struct job_list *jobs; /* all there are */
	unsigned nr_jobs, nr_threads;
	bool stopping;

	bool uio;                         /* there is such a driver */
	struct sysfs_uio_file *uio_files; /* that are open */
	uint64_t last_uio_file;
	struct sysfs_uio *uio_state;

	struct sysfs_fuse *fuse;
};

/* ---- functions.c; the lock held ---- */

/* Bring the list of functions up to date. */
void sysfs_sync(struct sysfs *fs);
struct function *sysfs_function(struct sysfs *fs, uint64_t id); /* that is shown, or NULL */
/* The first one with a higher id, shown or not; NULL: none. */
struct function *sysfs_function_after(struct sysfs *fs, uint64_t id);
struct function *sysfs_function_named(struct sysfs *fs, const char *name, size_t len);
void sysfs_function_get(struct function *f);
void sysfs_function_put(struct function *f);
/* Its device, held; NULL when it has gone.  vfio_device_put(). */
struct vfio_device *function_device(struct sysfs *fs, const struct function *f);
/* Bound to vfio-pci? */
bool function_bound(struct sysfs *fs, const struct function *f);
/* To uio_pci_generic?  *@minor (may be NULL): the N of uioN. */
bool function_uio(struct sysfs *fs, const struct function *f, unsigned *minor);
/* DRIVER_…, or SYSFS_NO_DRIVER. */
unsigned function_driver(struct sysfs *fs, const struct function *f);
#define SYSFS_DRIVER_NAME 64u /* bytes */
/* Its name, @out; NULL: none has it. */
const char *function_driver_name(struct sysfs *fs, const struct function *f,
				 char out[SYSFS_DRIVER_NAME]);
/* Of driver @driver; false: there is none. */
bool sysfs_driver_name(struct sysfs *fs, unsigned driver, char out[SYSFS_DRIVER_NAME]);
/* Has the tree that driver: is it always there, or one of a function? */
bool sysfs_driver_exists(struct sysfs *fs, uint64_t driver);

/* ---- table.c; the lock held ---- */

/* "../../…" from directory @node to the root. */
ssize_t sysfs_link_to(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size,
		      const char *fmt, ...) __attribute__((format(printf, 5, 6)));

uint64_t sysfs_ino(const struct sysfs_node *node);
/* Is @ino that of a uio file, there or not? */
bool sysfs_is_uio(uint64_t ino);
/* False: there is nothing with this number (any more). */
bool sysfs_find(struct sysfs *fs, uint64_t ino, struct sysfs_node *out);
enum sysfs_type sysfs_type(const struct sysfs_node *node);
mode_t sysfs_mode(const struct sysfs_node *node); /* permissions by the table */
uint64_t sysfs_size(struct sysfs *fs, const struct sysfs_node *node);
/* Contents of a text file or a link. */
ssize_t sysfs_show(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size);

/* ---- lookup.c; the lock held ---- */

bool sysfs_lookup(struct sysfs *fs, const struct sysfs_node *dir, const char *name,
		  struct sysfs_node *out);
/* The entry behind @cookie (0: the first), its name and the next cookie; false: no more. */
bool sysfs_next(struct sysfs *fs, const struct sysfs_node *dir, uint64_t *cookie,
		struct sysfs_node *out, char name[256]);

/* For lookup.c: the static entries of directories of this kind, and how many; the node of one of
 * them, if that is there in @dir. */
const struct sysfs_entry *sysfs_entries(enum sysfs_dir dir);
unsigned sysfs_nr_entries(enum sysfs_dir dir);
bool sysfs_static(struct sysfs *fs, const struct sysfs_node *dir, const struct sysfs_entry *e,
		  struct sysfs_node *out);

/* sysfs_node.which of further entries: of config.links; and of msi_irqs: function id, vector. */
#define OTHER_LINKS (1ull << 40)
#define MSI_SHIFT   12

/* ---- shared by the tables ---- */

/* An unsigned number as kstrtoul(…, 0) takes it: 0, -EINVAL, or -ERANGE as EINVAL. */
int sysfs_number(const struct sysfs_store *s, unsigned long *out);
/* Without one line end, as sysfs_streq() compares. */
bool sysfs_is(const struct sysfs_store *s, const char *word);
/* Does @driver take @f: its driver_override, a dynamic id or, of the host's own, its model says so?
 */
bool driver_matches(struct sysfs *fs, const struct function *f, unsigned driver);
#endif
