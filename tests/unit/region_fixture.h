/* SPDX-License-Identifier: BSD-3-Clause */
/* A device with a migration region (E.1), of a model whose saving may wait or fail, and accesses to
 * the region. */
#ifndef TESTS_UNIT_REGION_FIXTURE_H
#define TESTS_UNIT_REGION_FIXTURE_H

#include <semaphore.h>
#include <uvfio/migration.h>
#include "vfio_fixture.h"
#include "vfio/vfio_uapi.h"

#define REGION       ((unsigned)VFIO_PCI_NUM_REGIONS)
#define AT(offset)   (VFIO_REGION_OFFSET(REGION) + (offset))
#define WINDOW       4096u
#define WINDOW_BYTES (1u << 20)

enum { DEVICE_STATE = 0, RESERVED = 4, PENDING = 8, OFFSET = 16, SIZE = 24 };
enum { STOPPED = 0, RUNNING = 1, SAVING = 2, PRE_COPY = 3, RESUMING = 4, ERROR = 6, NDMA = 8 };

/* ---- a probe that can be moved: its scratch register, and as many bytes as a test wants ---- */

static struct {
	size_t bytes; /* of ballast, in sections of 64 KiB */
	size_t saved; /* so far */
	int fails;    /* what ->save() answers */
	bool waits;   /* ->save() waits to be let go */
	sem_t in, go;
	int leave; /* what ->leave() answers */
	int enter; /* what ->enter() answers */
	uint32_t scratch;
	size_t loaded;
	bool there;
	unsigned nr_forgotten;
} model;

static int moving_save(void *priv, struct uvfio_save *out, bool stopped, bool first)
{
	static const uint8_t ballast[65536] = {7};
	struct probe *p = priv;

	if (first)
		model.saved = 0;
	if (model.waits) {
		sem_post(&model.in);
		while (sem_wait(&model.go))
			;
	}
	if (model.fails)
		return model.fails;
	if (!stopped)
		return 0;
	if (model.saved < model.bytes) {
		uvfio_save_section(out, "BALL", 1);
		uvfio_save_bytes(out, ballast, sizeof(ballast));
		model.saved += sizeof(ballast);
		return 1;
	}
	uvfio_save_section(out, "PROB", 1);
	uvfio_save_u32(out, (uint32_t)uvfio_reg_get(p->dev, 0, REG_SCRATCH, 4));
	return 0;
}

static int moving_load(void *priv, struct uvfio_load *in, bool first, struct uvfio_error *err)
{
	if (first)
		model.loaded = model.there = 0;
	if (uvfio_load_is(in, "BALL")) {
		model.loaded += uvfio_load_left(in);
		uvfio_load_bytes(in, uvfio_load_left(in));
		return 0;
	}
	model.scratch = uvfio_load_u32(in);
	model.there = uvfio_load_is(in, "PROB") && uvfio_load_ok(in);
	return model.there ? 0 : uvfio_error_set(err, -EINVAL, "a section that is none");
}

static int moving_commit(void *priv, struct uvfio_error *err)
{
	struct probe *p = priv;

	if (!model.there)
		return uvfio_error_set(err, -EINVAL, "there is no section PROB");
	uvfio_reg_set(p->dev, 0, REG_SCRATCH, 4, model.scratch);
	return 0;
}

static void moving_forget(void *priv)
{
	model.nr_forgotten++;
	model.there = false;
}

static uint64_t moving_size(void *priv)
{
	return model.bytes + 4;
}

static int moving_leave(void *priv, struct uvfio_error *err)
{
	return model.leave ? uvfio_error_set(err, model.leave, "it cannot be given back") : 0;
}

static int moving_enter(void *priv, struct uvfio_error *err)
{
	return model.enter ? uvfio_error_set(err, model.enter, "somebody else has it") : 0;
}

static struct uvfio_migration_ops moving_ops = {
	.save = moving_save,
	.load = moving_load,
	.commit = moving_commit,
	.forget = moving_forget,
	.size = moving_size,
	.leave = moving_leave,
	.enter = moving_enter,
};
static struct uvfio_model moving_model;

static void up_with(struct fixture *f, const char *spec, unsigned can)
{
	memset(&model, 0, sizeof(model));
	sem_init(&model.in, 0, 0);
	sem_init(&model.go, 0, 0);
	moving_ops.can = can;
	moving_model = probe_model;
	moving_model.name = "moving";
	moving_model.migration = &moving_ops;
	fixture_machine(f);
	assert_int_equal(vfio_machine_add_model(f->machine, &moving_model), 0);
	fixture_add(f, spec);
	fixture_open(f);
	config_put(f, PCI_COMMAND, 2, COMMAND_ON);
}

static void up(struct fixture *f, const char *spec)
{
	up_with(f, spec, UVFIO_MIGRATE_P2P | UVFIO_MIGRATE_PRE_COPY);
}

/* ---- accesses ---- */

static int try_get(struct fixture *f, unsigned reg, uint64_t *value)
{
	size_t len = reg < PENDING ? 4 : 8;
	ssize_t n;

	*value = 0;
	n = vfio_device_read(f->df, AT(reg), value, len);
	assert_true(n == (ssize_t)len || n < 0);
	return n < 0 ? (int)n : 0;
}

static uint64_t get(struct fixture *f, unsigned reg)
{
	uint64_t value;

	assert_int_equal(try_get(f, reg, &value), 0);
	return value;
}

static int put(struct fixture *f, unsigned reg, uint64_t value)
{
	size_t len = reg < PENDING ? 4 : 8;
	ssize_t n = vfio_device_write(f->df, AT(reg), &value, len);

	assert_true(n == (ssize_t)len || n < 0);
	return n < 0 ? (int)n : 0;
}

static void go(struct fixture *f, uint32_t bits)
{
	assert_int_equal(put(f, DEVICE_STATE, bits), 0);
	assert_int_equal(get(f, DEVICE_STATE), bits);
}

static uint8_t stream[8 << 20];
static size_t chunks[64], nr_chunks;

/* The saving loop until there is nothing; what there is goes behind @len bytes.  Every register is
 * read twice. */
static size_t save_some(struct fixture *f, size_t len)
{
	uint64_t pending;

	while ((pending = get(f, PENDING))) {
		uint64_t size, at;

		assert_int_equal(get(f, PENDING), pending);
		at = get(f, OFFSET);
		size = get(f, SIZE);
		assert_int_equal(at, WINDOW);
		assert_in_range(size, 1, WINDOW_BYTES);
		assert_true(pending >= size);
		assert_int_equal(get(f, OFFSET), at);
		assert_int_equal(get(f, SIZE), size);
		assert_true(len + size <= sizeof(stream));
		for (unsigned twice = 0; twice < 2; twice++)
			assert_int_equal(vfio_device_read(f->df, AT(at), stream + len, size), size);
		assert_true(nr_chunks < 64);
		chunks[nr_chunks++] = size;
		len += size;
	}
	assert_int_equal(get(f, SIZE), 0);
	return len;
}

static size_t save_all(struct fixture *f)
{
	nr_chunks = 0;
	return save_some(f, 0);
}

static void load_all(struct fixture *f)
{
	size_t at = 0;

	for (unsigned i = 0; i < nr_chunks; at += chunks[i++]) {
		assert_int_equal(get(f, OFFSET), WINDOW);
		assert_int_equal(vfio_device_write(f->df, AT(WINDOW), stream + at, chunks[i]),
				 chunks[i]);
		assert_int_equal(put(f, SIZE, chunks[i]), 0);
	}
}

#endif
