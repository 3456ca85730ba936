/* SPDX-License-Identifier: BSD-3-Clause */
/* src/vfio/migrate_region.c: the migration region (E.1), over a model whose saving may wait or
 * fail. */
#include "region_fixture.h"

/* ---- tests ---- */

static void test_keys(void **state)
{
	static const struct {
		const char *spec;
		unsigned can;
		bool there, region;
	} rows[] = {
		{"moving", 3, true, false},
		{"moving,migration=v2", 3, true, false},
		{"moving,migration=off", 3, true, false},
		{"moving,migration=region", 0, true, true},
		{"moving,migration=region-ndma", UVFIO_MIGRATE_P2P, true, true},
		{"moving,migration=region-ndma", UVFIO_MIGRATE_PRE_COPY, false, false},
		{"moving,migration=v1", 3, false, false},
		{"moving,migration=region,migration=off", 3, false, false},
		{"probe,migration=region", 3, false, false},
		{"probe,migration=v2", 3, false, false},
		{"probe,migration=off", 3, true, false},
	};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct vfio_device_info info = {.argsz = sizeof(info)};
		struct uvfio_error err;
		struct fixture f;

		up_with(&f, "probe", rows[i].can);
		fixture_close(&f);
		fixture_machine(&f);
		assert_int_equal(vfio_machine_add_model(f.machine, &moving_model), 0);
		assert_int_equal(vfio_machine_add_device(f.machine, rows[i].spec, &err),
				 rows[i].there ? 0 : -EINVAL);
		if (rows[i].there) {
			assert_int_equal(vfio_machine_devices(f.machine, &f.dev, 1), 1);
			fixture_open(&f);
			assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_GET_INFO, &info), 0);
			assert_int_equal(info.num_regions, rows[i].region ? 10 : 9);
		}
		fixture_close(&f);
	}
}

static void test_info(void **state)
{
	struct {
		struct vfio_region_info info;
		struct vfio_region_info_cap_type type;
		struct vfio_region_info_cap_sparse_mmap sparse;
		struct vfio_region_sparse_mmap_area area;
		struct vfio_info_cap_header ndma;
		uint8_t behind[8];
	} r;
	const size_t full = offsetof(typeof(r), ndma);
	struct fixture f;

	for (unsigned ndma = 0; ndma < 2; ndma++) {
		up(&f, ndma ? "moving,migration=region-ndma" : "moving,migration=region");
		memset(&r, 0x55, sizeof(r));
		r.info = (struct vfio_region_info){.argsz = sizeof(r), .index = REGION};
		assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_GET_REGION_INFO, &r), 0);
		assert_int_equal(r.info.argsz, sizeof(r));
		assert_int_equal(r.info.flags,
				 VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE |
					 VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS);
		assert_int_equal(r.info.size, WINDOW + WINDOW_BYTES);
		assert_int_equal(r.info.offset, AT(0));
		assert_int_equal(r.info.cap_offset, 32);
		assert_int_equal(r.type.header.id, VFIO_REGION_INFO_CAP_TYPE);
		assert_int_equal(r.type.header.next, offsetof(typeof(r), sparse));
		assert_int_equal(r.type.type, 3);
		assert_int_equal(r.type.subtype, 1);
		assert_int_equal(r.sparse.header.id, VFIO_REGION_INFO_CAP_SPARSE_MMAP);
		assert_int_equal(r.sparse.header.next, ndma ? offsetof(typeof(r), ndma) : 0);
		assert_int_equal(r.sparse.nr_areas, 1);
		assert_int_equal(r.area.offset, WINDOW);
		assert_int_equal(r.area.size, WINDOW_BYTES);
		assert_int_equal(ndma ? r.ndma.id : 6, 6);
		assert_int_equal(ndma ? r.ndma.next : 0, 0);
		assert_int_equal(*((uint8_t *)&r + full + (ndma ? 8 : 0)), 0x55);
		/* Too small for the capabilities, then for all. */
		r.info.argsz = (uint32_t)(full + (ndma ? 8 : 0) - 1);
		assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_GET_REGION_INFO, &r), 0);
		assert_int_equal(r.info.argsz, full + (ndma ? 8 : 0));
		assert_int_equal(r.info.cap_offset, 0);
		assert_true(r.info.flags & VFIO_REGION_INFO_FLAG_CAPS);
		r.info.argsz = 31;
		assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_GET_REGION_INFO, &r), -EINVAL);
		r.info = (struct vfio_region_info){.argsz = sizeof(r), .index = REGION + 1};
		assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_GET_REGION_INFO, &r), -EINVAL);
		fixture_close(&f);
	}
}

static void test_a_device_moves(void **state)
{
	struct fixture a, b;
	size_t len;

	up(&a, "moving,memory=on,migration=region");
	bar_put(&a, 0, REG_SCRATCH, 4, 0x1234);
	bar_put(&a, 2, 8188, 4, 0xfedcba);
	model.bytes = 3u << 20;
	go(&a, PRE_COPY);
	nr_chunks = 0;
	len = save_some(&a, 0);
	assert_true(len > 4096 && len < 8192);
	assert_true(a.probe->running);
	/* While it runs, one asks again: and something has changed, or not. */
	assert_int_equal(get(&a, PENDING), 0);
	bar_put(&a, 2, 0, 4, 0xabcdef);
	len = save_some(&a, len);
	assert_true(len > 8192);
	go(&a, SAVING);
	assert_false(a.probe->running);
	len = save_some(&a, len);
	assert_true(len > 3u << 20);
	assert_int_equal(get(&a, PENDING), 0);
	go(&a, STOPPED);
	assert_int_equal(get(&a, PENDING), 0);
	fixture_close(&a);

	up(&b, "moving,memory=on,migration=region");
	go(&b, RESUMING);
	load_all(&b);
	assert_int_equal(model.loaded, 3u << 20);
	go(&b, RUNNING);
	assert_int_equal(bar_get(&b, 0, REG_SCRATCH, 4), 0x1234);
	assert_int_equal(bar_get(&b, 2, 0, 4), 0xabcdef);
	assert_int_equal(bar_get(&b, 2, 8188, 4), 0xfedcba);
	assert_true(b.probe->running);
	fixture_close(&b);
}

/* A model that gives nothing before it is stopped: there is pre-copy all the same (E.1). */
static void test_without_pre_copy(void **state)
{
	struct fixture f;

	up_with(&f, "moving,migration=region", 0);
	model.fails = -EIO; /* it is not asked */
	go(&f, PRE_COPY);
	assert_true(save_all(&f) < 100); /* a header */
	assert_int_equal(get(&f, OFFSET), WINDOW);
	assert_int_equal(get(&f, SIZE), 0);
	model.fails = 0;
	go(&f, SAVING);
	assert_true(save_all(&f) > 0);
	go(&f, RUNNING);
	fixture_close(&f);
}

/* What was shown and not let go is of the same stream, also when the device stops in between. */
static void test_chunk_outlives_stop(void **state)
{
	uint64_t size, size2;
	struct fixture a, b;

	up(&a, "moving,memory=on,migration=region");
	bar_put(&a, 2, 0, 4, 0x5a5a);
	go(&a, PRE_COPY);
	assert_true(get(&a, PENDING) > 4096);
	get(&a, OFFSET);
	size = get(&a, SIZE);
	go(&a, SAVING);
	assert_int_equal(get(&a, SIZE), size);
	assert_int_equal(get(&a, OFFSET), WINDOW);
	assert_int_equal(get(&a, SIZE), size);
	assert_int_equal(vfio_device_read(a.df, AT(WINDOW), stream, size), size);
	nr_chunks = 1;
	chunks[0] = size;
	size2 = save_some(&a, size);
	assert_true(size2 > size);
	up(&b, "moving,memory=on,migration=region");
	go(&b, RESUMING);
	load_all(&b);
	go(&b, STOPPED);
	go(&b, RUNNING);
	assert_int_equal(bar_get(&b, 2, 0, 4), 0x5a5a);
	fixture_close(&b);
	fixture_close(&a);
}

static void test_model_fails(void **state)
{
	struct fixture f;
	uint64_t value;

	up(&f, "moving,migration=region");
	model.fails = -EIO;
	go(&f, SAVING);
	assert_true(get(&f, PENDING) > 0); /* a header */
	get(&f, OFFSET);
	assert_int_equal(try_get(&f, PENDING, &value), -EIO);
	assert_int_equal(try_get(&f, OFFSET, &value), -EIO);
	assert_int_equal(get(&f, SIZE), 0);
	assert_int_equal(get(&f, DEVICE_STATE), SAVING);
	/* It is the stream's end for good?  No: the model may find itself again. */
	model.fails = 0;
	assert_true(get(&f, PENDING) > 0);
	/* On the way to RUNNING it stays where it could get to. */
	model.enter = -EBUSY;
	assert_int_equal(put(&f, DEVICE_STATE, RUNNING), -EBUSY);
	assert_int_equal(get(&f, DEVICE_STATE), STOPPED);
	assert_int_equal(get(&f, PENDING), 0);
	model.enter = 0;
	go(&f, RUNNING);
	fixture_close(&f);
}

/* Several bits at once: what was done before a step that fails stays done (E.1). */
static void test_priority(void **state)
{
	static const struct {
		uint32_t from, to, is;
		int leave, enter;
	} rows[] = {
		/* RUNNING is left before RESUMING and SAVING are entered */
		{RUNNING, RESUMING, STOPPED, -EBUSY, 0},
		{RUNNING, SAVING, STOPPED, -EBUSY, 0},
		{RUNNING, NDMA | SAVING, NDMA, -EBUSY, 0},
		{NDMA | RUNNING, RESUMING, NDMA, -EBUSY, 0},
		/* SAVING is left before anything */
		{PRE_COPY, RESUMING, STOPPED, -EBUSY, 0},
		{SAVING, RUNNING, STOPPED, 0, -EBUSY},
		/* one session: it is not left on the way, which leads by the quiet state */
		{PRE_COPY, SAVING, NDMA | PRE_COPY, -EBUSY, 0},
		{NDMA | PRE_COPY, NDMA | SAVING, NDMA | PRE_COPY, -EBUSY, 0},
	};
	struct fixture f;

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		up(&f, "moving,migration=region-ndma");
		go(&f, rows[i].from);
		model.leave = rows[i].leave;
		model.enter = rows[i].enter;
		assert_int_equal(put(&f, DEVICE_STATE, rows[i].to),
				 rows[i].leave ? rows[i].leave : rows[i].enter);
		if (get(&f, DEVICE_STATE) != rows[i].is)
			fail_msg("row %u: %#llx", i, (unsigned long long)get(&f, DEVICE_STATE));
		model.leave = model.enter = 0;
		assert_int_equal(put(&f, DEVICE_STATE, RUNNING), 0);
		fixture_close(&f);
	}
}

struct reader {
	struct fixture *f;
	uint64_t value;
	int ret;
};

static void *read_pending(void *arg)
{
	struct reader *r = arg;

	r->ret = try_get(r->f, PENDING, &r->value);
	return NULL;
}

/* Who must not wait is told so; a BAR is not held up by it. */
static void test_model_waits(void **state)
{
	struct fixture f;
	struct reader r = {.f = &f};
	pthread_t thread;
	uint32_t bits;

	up(&f, "moving,migration=region");
	go(&f, PRE_COPY);
	save_all(&f); /* the stream's header, which is not the model's */
	model.waits = true;
	assert_int_equal(pthread_create(&thread, NULL, read_pending, &r), 0);
	while (sem_wait(&model.in))
		;
	assert_int_equal(vfio_device_read_nowait(f.df, AT(DEVICE_STATE), &bits, 4), -EAGAIN);
	assert_int_equal(vfio_device_write_nowait(f.df, AT(DEVICE_STATE), &bits, 4), -EAGAIN);
	assert_int_equal(bar_get(&f, 0, REG_ID, 4), PROBE_ID);
	model.waits = false;
	sem_post(&model.go);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(r.ret, 0);
	assert_int_equal(r.value, 0);
	fixture_close(&f);
}

static void test_ends(void **state)
{
	struct fixture f;
	uint8_t bytes[4] = {1, 2, 3, 4}, back[4];

	/* A reset, in the middle of resuming; the window is empty. */
	up(&f, "moving,migration=region-ndma");
	go(&f, NDMA | RUNNING);
	go(&f, NDMA | RESUMING);
	assert_int_equal(vfio_device_write(f.df, AT(WINDOW), bytes, 4), 4);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(get(&f, DEVICE_STATE), RUNNING);
	assert_int_equal(model.nr_forgotten, 1);
	assert_int_equal(vfio_device_read(f.df, AT(WINDOW), back, 4), 4);
	assert_int_equal(back[0] | back[1] | back[2] | back[3], 0);
	assert_int_equal(put(&f, SIZE, 4), -EINVAL);
	assert_int_equal(vfio_device_write(f.df, AT(WINDOW), bytes, 4), -EINVAL);

	/* In the middle of saving, with a chunk in the window. */
	go(&f, SAVING);
	assert_true(get(&f, PENDING) > 0);
	get(&f, OFFSET);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	assert_int_equal(get(&f, SIZE), 0);
	assert_int_equal(get(&f, PENDING), 0);

	/* The last close. */
	go(&f, RESUMING);
	vfio_device_release(f.df);
	assert_int_equal(vfio_group_get_device(f.gf, f.client, (uintptr_t) "0000:01:00.0", &f.df),
			 0);
	assert_int_equal(get(&f, DEVICE_STATE), RUNNING);

	/* A stream that is none is refused, and stays so. */
	go(&f, RESUMING);
	assert_int_equal(put(&f, SIZE, WINDOW_BYTES), -EINVAL);
	assert_int_equal(put(&f, SIZE, 0), 0);
	assert_int_equal(put(&f, DEVICE_STATE, RUNNING), -EINVAL);
	assert_int_equal(get(&f, DEVICE_STATE), RESUMING);
	assert_int_equal(put(&f, SIZE, WINDOW_BYTES + 1), -EINVAL);
	assert_int_equal(put(&f, SIZE, UINT64_MAX), -EINVAL);
	fixture_close(&f);
}

static uint8_t *map_window(struct fixture *f)
{
	bool writable = false, trap = true;
	void *map;

	assert_int_equal(vfio_device_mmap(f->df, AT(WINDOW), WINDOW_BYTES, true, &writable, &trap),
			 0);
	assert_true(writable && !trap);
	map = mmap(NULL, WINDOW_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
		   vfio_device_view_fd(f->dev), (off_t)AT(WINDOW));
	assert_ptr_not_equal(map, MAP_FAILED);
	return map;
}

static void test_mapped(void **state)
{
	static const struct {
		uint64_t at, len;
		int ret;
	} rows[] = {
		{0, 4096, -EINVAL},
		{0, WINDOW + WINDOW_BYTES, -EINVAL},
		{WINDOW + 1, 4096, -EINVAL},
		{WINDOW, WINDOW_BYTES + 1, -EINVAL},
		{WINDOW + WINDOW_BYTES, 4096, -EINVAL},
		{WINDOW + WINDOW_BYTES - 4096, 4096, 0},
		{WINDOW, UINT64_MAX - 4095, -EINVAL},
	};
	bool writable, trap;
	uint64_t size, at = 0;
	struct fixture f;
	uint8_t *window;
	size_t len;

	up(&f, "moving,migration=region");
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(
			vfio_device_mmap(f.df, AT(rows[i].at), rows[i].len, true, &writable, &trap),
			rows[i].ret);
	assert_int_equal(vfio_device_mmap(f.df, AT(WINDOW), 4096, false, &writable, &trap),
			 -EINVAL);
	/* What is in the window when it is first mapped stays there. */
	bar_put(&f, 0, REG_SCRATCH, 4, 0x77);
	go(&f, SAVING);
	assert_true(get(&f, PENDING) > 0);
	get(&f, OFFSET);
	size = get(&f, SIZE);
	assert_int_equal(vfio_device_read(f.df, AT(WINDOW), stream, size), size);
	window = map_window(&f);
	assert_memory_equal(window, stream, size);
	/* Nor does it depend on memory decode. */
	config_put(&f, PCI_COMMAND, 2, 0);
	assert_memory_equal(window, stream, size);
	nr_chunks = 0;
	len = 0;
	while (get(&f, PENDING)) {
		at = get(&f, OFFSET);
		size = get(&f, SIZE);
		memcpy(stream + len, window + at - WINDOW, size);
		len += size;
	}
	assert_true(at == WINDOW || !len);
	go(&f, STOPPED);
	assert_int_equal(window[0], 0);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);

	/* Written through the mapping; what is written after data_size counts no more. */
	go(&f, SAVING);
	len = save_all(&f);
	go(&f, RESUMING);
	config_put(&f, PCI_COMMAND, 2, 0);
	memcpy(window, stream, len);
	assert_int_equal(put(&f, SIZE, len), 0);
	memset(window, 0xff, len);
	config_put(&f, PCI_COMMAND, 2, COMMAND_ON);
	go(&f, RUNNING);
	assert_int_equal(bar_get(&f, 0, REG_SCRATCH, 4), 0x77);
	/* A client that cuts its own file off. */
	go(&f, RESUMING);
	assert_int_equal(ftruncate(vfio_device_view_fd(f.dev), 0), 0);
	assert_int_equal(put(&f, SIZE, 10), -EFAULT);
	assert_int_equal(vfio_device_write(f.df, AT(WINDOW), "x", 1), -EFAULT);
	assert_int_equal(dev_ioctl(&f, VFIO_DEVICE_RESET, NULL), 0);
	go(&f, SAVING);
	assert_int_equal(try_get(&f, PENDING, &size), -EFAULT);
	munmap(window, WINDOW_BYTES);
	fixture_close(&f);
}

static void note_removed(void *arg, const char *name)
{
	sem_post(arg);
}

static void test_pulled_out(void **state)
{
	struct uvfio_error err;
	struct fixture f;
	uint64_t value;
	sem_t removed;
	int ret;

	up(&f, "moving,migration=region");
	sem_init(&removed, 0, 0);
	go(&f, RESUMING);
	assert_int_equal(vfio_machine_remove_device(f.machine, "0000:01:00.0", VFIO_REMOVE_SURPRISE,
						    note_removed, &removed, &err),
			 0);
	while ((ret = try_get(&f, DEVICE_STATE, &value)) == 0)
		sched_yield();
	assert_int_equal(ret, -EIO);
	assert_int_equal(put(&f, DEVICE_STATE, RUNNING), -EIO);
	assert_int_equal(vfio_device_write(f.df, AT(WINDOW), "x", 1), -EIO);
	vfio_device_release(f.df);
	f.df = NULL;
	while (sem_wait(&removed))
		;
	sem_destroy(&removed);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_info),
		cmocka_unit_test(test_a_device_moves),
		cmocka_unit_test(test_without_pre_copy),
		cmocka_unit_test(test_chunk_outlives_stop),
		cmocka_unit_test(test_model_fails),
		cmocka_unit_test(test_priority),
		cmocka_unit_test(test_model_waits),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_mapped),
		cmocka_unit_test(test_pulled_out),
	};

	guarded_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
