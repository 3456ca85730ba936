/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rule tests: an ordinary VFIO program that asks a device, rule by rule, what docs/rules says
 * of every device, and prints what it saw.  Whoever stands behind /dev/vfio, a kernel or not,
 * cannot be told from here.
 *
 * A case is one row of a table: a name that cites its rule, what must be open before it starts,
 * what the device must have (otherwise it is skipped), and a function.  The function acts and
 * *sees*: each see_*() appends "label=value" to the case's result and compares the value with what
 * the rule says. Results hold nothing that depends on the device, so that the lines of two devices
 * can be compared: a value that was derived from the device is printed by name ("count=all").
 *
 * Each case runs in a child process of its own, which opens everything anew; the result lies in
 * memory shared with the parent, so a case that dies loses nothing of what it saw.
 */
#ifndef RULES_H
#define RULES_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <linux/vfio.h>
#include "uapi.h"

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define PAGE         4096ul

/* What is open when a case starts. */
enum setup {
	OPEN_NOTHING,
	OPEN_GROUP,  /* a container and the group, strangers to one another */
	OPEN_MEMBER, /* the group is in the container, which has no IOMMU */
	OPEN_TYPE1,  /* … with a type 1 IOMMU, version 1 (or no-IOMMU, where it is that) */
	OPEN_TYPE1V2,
	OPEN_DEVICE, /* … version 2, and the device */
};

/* What the device must have for a case to mean something. */
enum need {
	NEED_INTX = 1 << 0,
	NEED_MSI = 1 << 1,
	NEED_MSIX = 1 << 2,
	NEED_MSIX2 = 1 << 3, /* at least two MSI-X vectors */
	NEED_PM = 1 << 4,
	NEED_PCIE = 1 << 5,
	NEED_FLR = 1 << 6,
	NEED_RESET = 1 << 7, /* some function reset */
	NEED_MMAP = 1 << 8,  /* NEED_BAR, and it can be mapped */
	NEED_IOBAR = 1 << 9,
	NEED_NO_MSI = 1 << 10,
	NEED_NO_MSIX = 1 << 11,
	NEED_OTHER = 1 << 12, /* a second device in another group */
	NEED_RAW = 1 << 13,   /* the hardware's config space in sysfs */
	NEED_TABLE = 1 << 14, /* the MSI-X table in a mappable BAR */
	NEED_EXT = 1 << 15,   /* extended config space */
	NEED_NO_INTX = 1 << 16,
	NEED_HOT = 1 << 17, /* HOT_RESET_INFO answers */
	NEED_MSI2 = 1 << 18,
	NEED_BAR = 1 << 19,      /* a memory BAR with a register that is no table of MSI-X */
	NEED_IOMMU = 1 << 20,    /* the device has one, which groups can be attached to */
	NEED_NOIOMMU = 1 << 21,  /* it has none, and no-IOMMU mode is on (A.9) */
	NEED_MODE_OFF = 1 << 22, /* no-IOMMU mode is off */
	NEED_DENIED = 1 << 23,   /* no-IOMMU mode is on, and not for us */
	NEED_REFUSED = 1 << 24,  /* interrupts are not isolated: nothing can be attached (F) */
	NEED_IOMMUFD = 1 << 30,  /* there are /dev/iommu and a node of the device */
	NEED_TICKS = 1 << 25,    /* its INTx comes by itself, again and again (--ticks) */
	NEED_SIBLING = 1 << 26,  /* a second device in the same group, on the same bus */
	NEED_SRIOV = 1 << 27,
	NEED_NO_SRIOV = 1 << 28,
	NEED_RAISE = 1 << 29, /* it can be told to interrupt (a8_raise.c) */
};

struct bar {
	uint64_t size;
	bool io, mem64, upper, mappable;
};

/* What is known of the device before the first case. */
struct facts {
	char bdf[32];
	unsigned group;
	bool noiommu;  /* which is one of no-IOMMU mode */
	bool denied;   /* and cannot be opened: nothing else is known then */
	bool refused;  /* it cannot be attached, likewise */
	bool mode_off; /* no-IOMMU mode is off */
	bool ticks;    /* its INTx comes from a timer: said by the caller */
	bool raw;      /* sysfs shows the hardware's config space */
	bool hot;
	unsigned config_size;
	uint8_t config[4096];
	struct bar bar[6];
	uint64_t rom_size;
	unsigned pm, msi, msix, pcie, af, vpd; /* offsets, 0 when absent */
	unsigned pin, msi_count, msix_count;
	bool flr, reset, sriov;
	unsigned table_bar, pba_bar;
	uint32_t table_offset, table_size, pba_offset;
	int bar_index;            /* a memory BAR, if possible a mappable one; -1: none */
	uint32_t register_offset; /* of a dword in it that is neither table nor PBA */
	uint64_t region_offset[VFIO_PCI_NUM_REGIONS];
	uint64_t iova_first, iova_last; /* a usable range of at least 16 MiB (D.2) */
};

/* A case in progress.  Everything but @out is private to the child. */
struct outcome {
	char result[2000]; /* "label=value label=value" */
	char wrong[400];   /* the first value that was not as the rule says */
	char skipped[200];
	bool failed, done;
	bool not_applicable; /* @skipped: what this door has no message for */
};

struct t {
	const struct rule *rule;
	const struct facts *f, *other, *sibling; /* the last two: NULL when not given */
	struct outcome *out;
	unsigned release; /* 0x0602 for Linux 6.2: whose rules are expected */
	int container, group, dev;
};

struct rule {
	const char *name;
	enum setup setup;
	unsigned needs;
	void (*run)(struct t *t);
	const void *arg;
};

struct section {
	const char *name; /* "A.8" */
	const struct rule *rules;
	size_t count;
};
#define SECTION(id, rules)                                                                         \
	{                                                                                          \
		id, rules, ARRAY_LEN(rules)                                                        \
	}

/* A table of rows of any type, each run by one function, becomes rules here (main.c lists them). */
extern const struct section section_a1, section_a3, section_a4, section_a5, section_a5_hot,
	section_a6_info, section_a6_access, section_a6_mmap, section_a7_header, section_a7_bars,
	section_a7_caps, section_a7_ext, section_a8_info, section_a8_validation, section_a8_intx,
	section_a8_msix, section_a8_msi, section_a8_err, section_a8_raise, section_a8_ioeventfd,
	section_a10, section_a9, section_d1, section_d1_drivers, section_d1_siblings,
	section_d1_order, section_d2_map, section_d2_map_order, section_d2_memory, section_d2_unmap,
	section_d2_dirty, section_d2_info, section_e4, section_f1;

/* ---- observing (observe.c) ------------------------------------------------------------------- */

/* 0 or more as it is, -errno otherwise. */
static inline long sys(long rc)
{
	return rc < 0 ? -errno : rc;
}

/* @got and @want: a count, or a negative errno.  Printed as number or errno name. */
void see(struct t *t, const char *label, long got, long want);
/* The same, but a @got that equals @want is printed as @name, because it depends on the device. */
void see_as(struct t *t, const char *label, long got, long want, const char *name);
void see_hex(struct t *t, const char *label, uint64_t got, uint64_t want);
void see_bool(struct t *t, const char *label, bool got, bool want);
void see_true(struct t *t, const char *label, bool got);
void see_text(struct t *t, const char *label, const char *got, const char *want);
/* Something the case cannot go on without: recorded only when it fails, and then the case ends. */
void must(struct t *t, const char *label, long rc);
void skip(struct t *t, const char *reason) __attribute__((noreturn));
bool since(const struct t *t, unsigned major, unsigned minor);
const char *errno_name(int err, char buf[16]);

/* Can the device be told to interrupt (a8_raise.c)? */
bool can_raise(const struct facts *f);

/* ---- acting (act.c) -------------------------------------------------------------------------- */

/* Another file is the container: an iommufd (D.3). */
void use_container(const char *path);
int open_container(void);
int open_group(const struct facts *f);
long set_container(int group, int container);
long get_device(int group, const char *name);
/* Opens what @setup says; ends the case when that fails. */
void open_all(struct t *t, enum setup setup);
/* Closes what is open, device first. */
void close_all(struct t *t);

uint32_t cfg_read(struct t *t, unsigned off, unsigned size);
void cfg_write(struct t *t, unsigned off, unsigned size, uint32_t value);
long cfg_pread(struct t *t, void *buf, size_t count, unsigned off);
long cfg_pwrite(struct t *t, const void *buf, size_t count, unsigned off);
/* The hardware's own value, through sysfs. */
uint32_t raw_read(struct t *t, unsigned off, unsigned size);
void set_memory(struct t *t, bool on);
void set_power(struct t *t, unsigned state);

long region_info(struct t *t, struct vfio_region_info *info, unsigned index);
/* A register that can be read without harm, by pread: 4 or -errno. */
long bar_pread32(struct t *t, uint32_t *value);
void *map_bar(struct t *t, int prot);

/* Reads through @p; the signal when that faulted, else 0. */
int touch(const volatile uint32_t *p, uint32_t *value);
int touch_write(volatile uint32_t *p, uint32_t value);

int new_eventfd(struct t *t);
/* The counter of an eventfd, waiting up to @ms for it to be non-zero; it is 0 afterwards. */
uint64_t take(int fd, int ms);
bool fired(int fd);

struct irq_request {
	uint32_t argsz, flags, index, start, count; /* argsz 0: what the data needs */
	int32_t data[8];
};
/* SET_IRQS with up to 8 eventfds (or as many bytes, for BOOL). */
long set_irqs(struct t *t, uint32_t index, uint32_t flags, uint32_t start, uint32_t count,
	      const int32_t *fds);
long irqs_off(struct t *t, uint32_t index);
long irq_count(struct t *t, uint32_t index);

/* Pages of memory to map for DMA, and a struct at the very end of accessible memory. */
void *new_pages(struct t *t, size_t pages);
void *at_page_end(struct t *t, size_t size);
long dma_map(int container, uint64_t iova, const void *vaddr, uint64_t size);
long dma_unmap(int container, uint64_t iova, uint64_t *size);
/* Without CAP_IPC_LOCK RLIMIT_MEMLOCK is a limit.  False: the process cannot change that. */
bool drop_ipc_lock(void);

#endif
