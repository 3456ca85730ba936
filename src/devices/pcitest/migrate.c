/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The state of the test device for its migration:
 *
 *	PCIT version 2: u32 messages, u64 bytes of BAR 2, u8 whether it has pads: what must agree;
 *	                then the registers as the driver wrote them, the counters, the pads; what a
 *	                PF has in its registers about VFs, and PME_DELAY, which version 1 lacks
 *	ENGI version 1: u8 whether a command waits, u8 whether one is under way; both of them;
 *	                how far the latter has come
 *
 * BAR 2 is the core's to move.  What a VF and its PF have told each other goes with the VF.
 *
 * FAIL, by which a step of this fails, is not moved: it is for the device that has been told.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <uvfio/migration.h>

#include "devices/pcitest/pcitest.h"

#define REGS_VERSION   2u
#define ENGINE_VERSION 1u

static void save_command(struct uvfio_save *out, const struct pcitest_command *c)
{
	uvfio_save_u64(out, c->address);
	uvfio_save_u32(out, c->length);
	uvfio_save_u32(out, c->buffer);
	uvfio_save_u32(out, c->command);
}

static void load_command(struct uvfio_load *in, struct pcitest_command *c)
{
	c->address = uvfio_load_u64(in);
	c->length = uvfio_load_u32(in);
	c->buffer = uvfio_load_u32(in);
	c->command = uvfio_load_u32(in);
}

/* A number for each 8 bytes of a BAR that keep what is written. */
static void save_kept(struct pcitest *p, struct uvfio_save *out, unsigned bar, uint64_t from,
		      uint64_t end)
{
	for (uint64_t at = from; at < end; at += 8)
		uvfio_save_u64(out, uvfio_reg_get(p->dev, bar, at, 8));
}

/* Is @step to fail?  0, or -errno with a message (@err may be NULL): once.  The lock is held. */
static int is_to_fail(struct pcitest *p, enum pcitest_fail step, struct uvfio_error *err)
{
	uint32_t fail = p->fail;
	int error = (int)(fail >> 8 & 0xff);

	if ((fail & PCITEST_FAIL_STEP) != step || !error)
		return 0;
	p->fail = 0;
	pcitest_publish(p, PCITEST_FAIL, 4, 0);
	if (fail & PCITEST_FAIL_LOST)
		uvfio_migration_lost(p->dev);
	return uvfio_error_set(err, -error, "its driver has asked it to fail here (register FAIL)");
}

static int fails(struct pcitest *p, enum pcitest_fail step, struct uvfio_error *err)
{
	int ret;

	pthread_mutex_lock(&p->lock);
	ret = is_to_fail(p, step, err);
	pthread_mutex_unlock(&p->lock);
	return ret;
}

/* It holds nothing that it could give back. */
int pcitest_leave(void *priv, struct uvfio_error *err)
{
	return fails(priv, PCITEST_FAIL_LEAVE, err);
}

int pcitest_enter(void *priv, struct uvfio_error *err)
{
	return fails(priv, PCITEST_FAIL_ENTER, err);
}

#define DOORBELLS_END (PCITEST_LAST_DOORBELL + 4 * PCITEST_NR_DOORBELLS)

int pcitest_save(void *priv, struct uvfio_save *out, bool stopped, bool first)
{
	struct pcitest *p = priv;
	int ret;

	if (!stopped)
		return 0; /* nothing of it is worth the while before */
	ret = fails(p, PCITEST_FAIL_SAVE, NULL);
	if (ret)
		return ret;
	pthread_mutex_lock(&p->lock);
	uvfio_save_section(out, "PCIT", REGS_VERSION);
	uvfio_save_u32(out, p->nr_vectors);
	uvfio_save_u64(out, p->memory_size);
	uvfio_save_u8(out, p->pads);
	uvfio_save_u64(out, p->scratch);
	uvfio_save_u32(out, p->intx);
	save_command(out, &p->regs);
	uvfio_save_u32(out, p->status);
	uvfio_save_u32(out, p->error);
	uvfio_save_u32(out, p->ended);
	uvfio_save_u32(out, p->config_writes);
	uvfio_save_u64(out, p->mailbox);
	uvfio_save_u64(out, p->pf_data);
	save_kept(p, out, PCITEST_BAR_REGS, PCITEST_LAST_DOORBELL, DOORBELLS_END);
	for (unsigned i = 0; i < 6; i++)
		for (unsigned j = 0; j < 8; j++)
			uvfio_save_u32(out, p->counts[i][j / 4][j % 4]);
	if (p->pads) {
		save_kept(p, out, PCITEST_BAR_IO, PCITEST_PAD_DATA, PCITEST_IO_SIZE);
		save_kept(p, out, PCITEST_BAR_SMALL, PCITEST_PAD_DATA, PCITEST_SMALL_SIZE);
	}
	uvfio_save_u32(out, p->vf_select);
	uvfio_save_u32(out, p->vf_status);
	uvfio_save_u64(out, p->vf_data);
	uvfio_save_u32(out, p->pme_delay);
	uvfio_save_section(out, "ENGI", ENGINE_VERSION);
	uvfio_save_u8(out, p->has_next);
	uvfio_save_u8(out, p->phase != PCITEST_PHASE_IDLE);
	save_command(out, &p->next);
	save_command(out, &p->now);
	uvfio_save_u32(out, p->moved);
	pthread_mutex_unlock(&p->lock);
	return 0;
}

/* ---- loading ---- */

#define NR_DOORBELL_WORDS (4 * PCITEST_NR_DOORBELLS / 8)
#define NR_IO_WORDS       ((PCITEST_IO_SIZE - PCITEST_PAD_DATA) / 8)
#define NR_SMALL_WORDS    ((PCITEST_SMALL_SIZE - PCITEST_PAD_DATA) / 8)

/* What has come. */
struct pcitest_aside {
	bool has_regs, has_engine;
	uint64_t scratch, mailbox, pf_data, vf_data;
	uint32_t vf_select, vf_status, pme_delay;
	uint32_t intx, error, ended, config_writes, status;
	struct pcitest_command regs, next, now;
	uint64_t doorbells[NR_DOORBELL_WORDS], io[NR_IO_WORDS], small[NR_SMALL_WORDS];
	uint32_t counts[6][2][4];
	uint8_t has_next, moving;
	uint32_t moved;
};

static void load_words(struct uvfio_load *in, uint64_t *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		words[i] = uvfio_load_u64(in);
}

static int load_regs(struct pcitest *p, struct uvfio_load *in, struct pcitest_aside *a,
		     struct uvfio_error *err)
{
	uint32_t vectors = uvfio_load_u32(in);
	uint64_t memory = uvfio_load_u64(in);
	uint8_t pads = uvfio_load_u8(in);

	if (vectors != p->nr_vectors || memory != p->memory_size || pads != p->pads)
		return uvfio_error_set(
			err, -EINVAL,
			"the stream is of a device with %u messages and %llu bytes "
			"of memory, and this has %u and %llu: start it with the same "
			"options",
			vectors, (unsigned long long)memory, p->nr_vectors,
			(unsigned long long)p->memory_size);
	a->scratch = uvfio_load_u64(in);
	a->intx = uvfio_load_u32(in);
	load_command(in, &a->regs);
	a->status = uvfio_load_u32(in);
	a->error = uvfio_load_u32(in);
	a->ended = uvfio_load_u32(in);
	a->config_writes = uvfio_load_u32(in);
	a->mailbox = uvfio_load_u64(in);
	a->pf_data = uvfio_load_u64(in);
	load_words(in, a->doorbells, NR_DOORBELL_WORDS);
	for (unsigned i = 0; i < 6; i++)
		for (unsigned j = 0; j < 8; j++)
			a->counts[i][j / 4][j % 4] = uvfio_load_u32(in);
	if (p->pads) {
		load_words(in, a->io, NR_IO_WORDS);
		load_words(in, a->small, NR_SMALL_WORDS);
	}
	if (uvfio_load_version(in) > 1) {
		a->vf_select = uvfio_load_u32(in);
		a->vf_status = uvfio_load_u32(in);
		a->vf_data = uvfio_load_u64(in);
		a->pme_delay = uvfio_load_u32(in);
	}
	if (!p->vfs && (a->vf_select || a->vf_status || a->vf_data))
		return uvfio_error_set(err, -EINVAL,
				       "the stream is of a device with VFs, and this has none: "
				       "start it with the same options");
	if (!uvfio_load_ok(in) || a->intx & ~PCITEST_INTX_LEVEL || a->status >= PCITEST_NR_STATUS)
		return uvfio_error_set(err, -EINVAL, "section PCIT makes no sense");
	a->has_regs = true;
	return 0;
}

/* Does a command that is under way fit its own description? */
static bool engine_valid(const struct pcitest *p, const struct pcitest_aside *a)
{
	if (a->has_next > 1 || a->moving > 1)
		return false;
	return !a->moving || (pcitest_command_valid(p, &a->now) && a->moved <= a->now.length);
}

static int load_engine(struct pcitest *p, struct uvfio_load *in, struct pcitest_aside *a,
		       struct uvfio_error *err)
{
	a->has_next = uvfio_load_u8(in);
	a->moving = uvfio_load_u8(in);
	load_command(in, &a->next);
	load_command(in, &a->now);
	a->moved = uvfio_load_u32(in);
	if (!uvfio_load_ok(in) || !engine_valid(p, a))
		return uvfio_error_set(err, -EINVAL, "section ENGI makes no sense");
	a->has_engine = true;
	return 0;
}

int pcitest_load(void *priv, struct uvfio_load *in, bool first, struct uvfio_error *err)
{
	struct pcitest *p = priv;
	int ret;

	if (first)
		pcitest_forget(p);
	if (!p->aside)
		p->aside = calloc(1, sizeof(*p->aside));
	if (!p->aside)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	ret = fails(p, PCITEST_FAIL_LOAD, err);
	if (ret)
		return ret;
	if (!uvfio_load_version(in) ||
	    uvfio_load_version(in) > (uvfio_load_is(in, "PCIT") ? REGS_VERSION : ENGINE_VERSION))
		return uvfio_error_set(err, -EINVAL,
				       "section %s is of version %u, which is not known here",
				       uvfio_load_kind(in), uvfio_load_version(in));
	if (uvfio_load_is(in, "PCIT") && !p->aside->has_regs)
		return load_regs(p, in, p->aside, err);
	if (uvfio_load_is(in, "ENGI") && !p->aside->has_engine)
		return load_engine(p, in, p->aside, err);
	return uvfio_error_set(err, -EINVAL, "a section %s does not belong here",
			       uvfio_load_kind(in));
}

void pcitest_forget(void *priv)
{
	struct pcitest *p = priv;

	free(p->aside);
	p->aside = NULL;
}

static void put_words(struct pcitest *p, unsigned bar, uint64_t from, const uint64_t *words,
		      size_t n)
{
	for (size_t i = 0; i < n; i++)
		uvfio_reg_set(p->dev, bar, from + 8 * i, 8, words[i]);
}

int pcitest_commit(void *priv, struct uvfio_error *err)
{
	struct pcitest *p = priv;
	struct pcitest_aside *a = p->aside;
	int ret = fails(p, PCITEST_FAIL_COMMIT, err);

	if (ret)
		return ret;
	if (!a || !a->has_regs || !a->has_engine)
		return uvfio_error_set(err, -EINVAL, "the stream lacks section %s",
				       a && a->has_regs ? "ENGI" : "PCIT");
	pcitest_engine_set(p, a->moving, &a->now, a->moved);
	pthread_mutex_lock(&p->lock);
	p->scratch = a->scratch;
	p->regs = a->regs;
	p->next = a->next;
	p->has_next = a->has_next;
	p->ended = a->ended;
	p->config_writes = a->config_writes;
	p->mailbox = a->mailbox;
	p->pf_data = a->pf_data;
	p->vf_select = a->vf_select;
	p->vf_status = a->vf_status;
	p->vf_data = a->vf_data;
	p->pme_delay = a->pme_delay;
	memcpy(p->counts, a->counts, sizeof(p->counts));
	put_words(p, PCITEST_BAR_REGS, PCITEST_LAST_DOORBELL, a->doorbells, NR_DOORBELL_WORDS);
	if (p->pads) {
		put_words(p, PCITEST_BAR_IO, PCITEST_PAD_DATA, a->io, NR_IO_WORDS);
		put_words(p, PCITEST_BAR_SMALL, PCITEST_PAD_DATA, a->small, NR_SMALL_WORDS);
	}
	pcitest_publish_all(p, a->status, (int)a->error, a->intx);
	pthread_mutex_unlock(&p->lock);
	pcitest_forget(p);
	return 0;
}

uint64_t pcitest_size(void *priv)
{
	return sizeof(struct pcitest_aside);
}
