/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A physical function and its virtual ones, as the cases of B and C have them (sriov.c).
 *
 * The device that is asked (t->f) is the PF; its VFs are known by number.  A case begins with
 * sriov_ready(), which brings PF and VFs into a known state whatever the last case left, and ends
 * without cleaning up.  All that a case does to the host it does through /sys.
 */
#ifndef RULES_SRIOV_H
#define RULES_SRIOV_H

#include "facts.h"

/* Who has the PF. */
enum pf_driver {
	PF_VFIO,    /* vfio-pci, with enable_sriov=Y */
	PF_STUB,    /* pci-pf-stub, which only enables SR-IOV */
	PF_HOST,    /* the host's own driver of the device: nvme, igb, … */
	PF_UNBOUND, /* nobody */
};

struct fn {
	char bdf[32];
	unsigned group;
};

struct sriov {
	struct fn pf, vf[2];
	unsigned total; /* sriov_totalvfs */
	char host[32];  /* the host's own driver; "" where there is none */
};

/* How a device is opened. */
enum way {
	BY_GROUP, /* GET_DEVICE_FD, with "vf_token=UUID" behind the name */
	BY_NODE,  /* BIND_IOMMUFD, with the flag TOKEN and 16 bytes */
};

#define TOKEN_A "2f6a1cbe-0d53-4a41-9e0b-71c8d2a94f10"
#define TOKEN_B "c0ffee00-1234-4abc-8def-0123456789ab"

/* 0 or -errno; the file is @name of function @bdf in /sys/bus/pci/devices. */
long fn_write(const char *bdf, const char *name, const char *text);
/* What is in the file, without the newline; "" when it cannot be read. */
const char *fn_read(const char *bdf, const char *name, char buf[64]);
long fn_number(const char *bdf, const char *name);
bool fn_has(const char *bdf, const char *name);
/* The name of the driver that has @bdf; "" when there is none. */
const char *fn_driver(const char *bdf, char buf[64]);
long fn_bind(const char *bdf, const char *driver); /* driver_override, and bind */
long fn_unbind(const char *bdf);
/* /sys/module/vfio_pci/parameters/@name */
long policy_write(const char *name, const char *text);

/*
 * The PF with driver @driver, its token new, and @n VFs (up to 2 of which are in @s), each bound to
 * vfio-pci.  Skips the case where the host cannot be told so.
 */
void sriov_ready(struct t *t, struct sriov *s, enum pf_driver driver, unsigned n);
/* Skips the case where VFs are in the group of their PF, which another driver than VFIO's has. */
void need_own_groups(struct t *t, const struct sriov *s);
/* The VFs that there are now, bound to vfio-pci. */
void sriov_learn(struct t *t, struct sriov *s, unsigned n);
long sriov_set(const struct sriov *s, unsigned n); /* writes sriov_numvfs */

/* Opens @fn, a token being offered unless @token is NULL: its descriptor or -errno. */
long fn_open(struct t *t, enum way way, const struct fn *fn, const char *token);
/* What is behind GET_DEVICE_FD's name is @rest. */
long fn_open_string(struct t *t, const struct fn *fn, const char *rest);
void fn_close(const struct fn *fn, int dev);
/* Only whether it can be opened: 0 or -errno. */
long fn_try(struct t *t, enum way way, const struct fn *fn, const char *token);
/* A group's descriptor and container, kept until the last fn_close(). */
int fn_group(struct t *t, const struct fn *fn);
/* FEATURE 0: 0 or -errno. */
long set_token(int dev, const char *token);
void token_bytes(const char *token, uint8_t bytes[16]);
/* A case for @fn as for any device: its config space and regions are asked through t->dev. */
void fn_facts(struct t *t, const struct fn *fn, int dev, struct facts *f);

extern const struct section section_a7_vf, section_a7_pf, section_b1, section_c1, section_c2,
	section_c3, section_c4;

#endif
