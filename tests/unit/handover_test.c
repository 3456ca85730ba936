/* SPDX-License-Identifier: BSD-3-Clause */
/* src/wire/handover.c and takeover.c: what goes along with a connection that is handed over. */
#include "wire_util.h"
#include <sched.h>
#include <time.h>
#include "devices/pcitest/pcitest_spec.h"
#include "handover_util.h"

/* ---- what VERSION agreed on, and what was counted ---- */

static void assert_same_info(struct wire_connection_info *was, struct wire_connection_info *is)
{
	assert_string_equal(is->device, was->device);
	assert_string_equal(is->state, "READY");
	assert_int_equal(is->pid, was->pid);
	assert_int_equal(is->uid, was->uid);
	assert_int_equal(is->since, was->since);
	assert_int_equal(is->messages, was->messages);
	assert_int_equal(is->bytes_in, was->bytes_in);
	assert_int_equal(is->bytes_out, was->bytes_out);
	assert_int_equal(is->errors, was->errors);
	assert_int_equal(is->max_xfer, was->max_xfer);
	assert_int_equal(is->minor, was->minor);
	assert_int_equal(is->twin_socket, was->twin_socket);
}

static void agreed(void **state)
{
	static const char *const json[] = {
		NULL,
		"{\"capabilities\":{\"max_msg_fds\":3,\"max_data_xfer_size\":4096}}",
		"{\"capabilities\":{\"max_msg_fds\":1,\"twin_socket\":{\"supported\":true}}}",
	};
	struct wire_connection_info was, is;
	struct pair p;

	for (unsigned i = 0; i < 3; i++) {
		for (uint16_t minor = 0; minor < 2; minor++) {
			pair_up_with(&p, minor, json[i]);
			client_put(p.fd, PCITEST_SCRATCH, 0x1122334455667788, 8);
			assert_int_equal(client_call(p.fd, 99, NULL, 0, NULL, 0, &p.r), ENOTTY);
			handed_stop(p.from);
			info(p.from, &was);
			pair_hand(&p);
			info(p.from, &is);
			assert_same_info(&was, &is);
			assert_int_equal(is.minor, minor);
			assert_int_equal(is.errors, 1);
			assert_int_equal(get64(&p, PCITEST_SCRATCH), 0x1122334455667788);
			/* 4096 bytes are all that it takes. */
			if (i == 1) {
				static uint8_t page[4097];

				assert_int_equal(client_read(p.fd, 2, 0, page, 4096), 0);
				assert_int_equal(client_read(p.fd, 2, 0, page, 4097), EINVAL);
			}
			pair_down(&p);
		}
	}
}

/* As often as one likes. */
static void again_and_again(void **state)
{
	struct pair p;

	pair_up(&p);
	for (unsigned i = 0; i < 10; i++) {
		client_put(p.fd, PCITEST_SCRATCH, i, 8);
		handed_stop(p.from);
		pair_hand(&p);
		assert_int_equal(get64(&p, PCITEST_SCRATCH), i);
	}
	pair_down(&p);
}

/* ---- memory ---- */

#define IOVA 0x100000ull
#define SIZE 65536u

static void fill(uint8_t *bytes, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(seed + i * 7 + i / 256);
}

/* Memory files: two, one of them twice at different places, and once only to be read. */
static void maps_with_files(void **state)
{
	struct vfio_user_dma_map read_only = {sizeof(read_only), VFIO_USER_DMA_MAP_READ, 0,
					      IOVA + 0x300000, SIZE};
	int mem = memfd_create("memory", MFD_CLOEXEC), second = memfd_create("second", MFD_CLOEXEC);
	uint8_t *bytes, *other, got[4096];
	struct pair p;

	assert_true(mem >= 0 && !ftruncate(mem, 4 * SIZE) && !ftruncate(second, SIZE));
	bytes = mmap(NULL, 4 * SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, mem, 0);
	other = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, second, 0);
	assert_true(bytes != MAP_FAILED && other != MAP_FAILED);
	fill(bytes, 4 * SIZE, 1);
	fill(other, SIZE, 99);
	pair_up(&p);
	assert_int_equal(client_map(p.fd, IOVA, SIZE, mem, SIZE), 0);
	assert_int_equal(client_map(p.fd, IOVA + 0x100000, SIZE, mem, 0), 0);
	assert_int_equal(client_map(p.fd, IOVA + 0x200000, SIZE, second, 0), 0);
	assert_int_equal(
		client_call(p.fd, VFIO_USER_DMA_MAP, &read_only, sizeof(read_only), &mem, 1, &p.r),
		0);
	handed_stop(p.from);
	assert_int_equal(handed_give(p.from, &p.handed, &p.err), 0);
	/* The socket, and each file once; one that may only be read counts as another. */
	assert_int_equal(p.handed.nr_fds, 4);
	pair_take(&p);

	assert_int_equal(dma(&p, IOVA + 100, PCITEST_CMD_READ), 0);
	assert_int_equal(client_read(p.fd, 2, 0, got, sizeof(got)), 0);
	assert_memory_equal(got, bytes + SIZE + 100, sizeof(got));
	assert_int_equal(dma(&p, IOVA + 0x200000, PCITEST_CMD_READ), 0);
	assert_int_equal(client_read(p.fd, 2, 0, got, sizeof(got)), 0);
	assert_memory_equal(got, other, sizeof(got));
	assert_int_equal(dma(&p, IOVA + 0x100000, PCITEST_CMD_WRITE), 0);
	assert_memory_equal(bytes, other, sizeof(got));
	assert_int_equal(dma(&p, IOVA + 0x300000, PCITEST_CMD_READ), 0);
	assert_int_equal(dma(&p, IOVA + 0x300000, PCITEST_CMD_WRITE), EFAULT);
	/* Nothing else is mapped, and what is can be unmapped. */
	assert_int_equal(dma(&p, IOVA + SIZE, PCITEST_CMD_READ), EFAULT);
	assert_int_equal(client_map(p.fd, IOVA, 4096, mem, 0), EEXIST);
	assert_int_equal(client_unmap(p.fd, IOVA, SIZE, 0, &(uint64_t){0}), 0);
	assert_int_equal(dma(&p, IOVA, PCITEST_CMD_READ), EFAULT);
	munmap(bytes, 4 * SIZE);
	munmap(other, SIZE);
	close(mem);
	close(second);
	pair_down(&p);
}

/* More mappings than are asked for at a time, of as many files as are kept. */
static void many_maps(void **state)
{
	const unsigned nr = 600, files = 64;
	uint64_t all = 0;
	struct pair p;
	int *fds = calloc(files, sizeof(*fds));

	assert_non_null(fds);
	pair_up(&p);
	for (unsigned i = 0; i < nr; i++) {
		if (i < files) {
			fds[i] = memfd_create("memory", MFD_CLOEXEC);
			assert_true(fds[i] >= 0 && !ftruncate(fds[i], 8192));
			assert_int_equal(pwrite(fds[i], &i, sizeof(i), 4096), sizeof(i));
		}
		assert_int_equal(client_map(p.fd, IOVA + i * 8192ull, 4096, fds[i % files], 4096),
				 0);
	}
	handed_stop(p.from);
	pair_hand(&p);
	for (unsigned i = 0; i < nr; i += 37) {
		assert_int_equal(dma_len(&p, IOVA + i * 8192ull, 4096, PCITEST_CMD_READ), 0);
		assert_int_equal(get32(&p, 2, 0), i % files);
	}
	assert_int_equal(client_unmap(p.fd, 0, 0, VFIO_USER_DMA_UNMAP_ALL, &all), 0);
	assert_int_equal(all, nr * 4096ull);
	for (unsigned i = 0; i < files; i++)
		close(fds[i]);
	free(fds);
	pair_down(&p);
}

/* Memory that cannot be had again: there is no descriptor of it here. */
static void maps_that_stay(void **state)
{
	int disk = scratch_file(), fds[65];
	struct pair p;

	assert_int_equal(ftruncate(disk, SIZE), 0);
	for (unsigned i = 0; i < 65; i++) {
		fds[i] = memfd_create("memory", MFD_CLOEXEC);
		assert_true(fds[i] >= 0 && !ftruncate(fds[i], SIZE));
	}
	for (unsigned many = 0; many < 2; many++) {
		/* (Where /tmp is made of memory, its files are.) */
		if (!many && fcntl(disk, F_GET_SEALS) >= 0)
			continue;
		pair_up(&p);
		for (unsigned i = 0; i < (many ? 65 : 1); i++)
			assert_int_equal(
				client_map(p.fd, IOVA + i * SIZE, SIZE, many ? fds[i] : disk, 0),
				0);
		handed_stop(p.from);
		assert_int_equal(handed_give(p.from, &p.handed, &p.err), -EOPNOTSUPP);
		assert_says(&p, "memory mapped that cannot go along");
		handed_back(p.from);
		assert_int_equal(dma(&p, IOVA, PCITEST_CMD_READ), 0);
		/* The last one of them is too many. */
		assert_int_equal(
			client_unmap(p.fd, IOVA + (many ? 64 : 0) * SIZE, SIZE, 0, &(uint64_t){0}),
			0);
		handed_stop(p.from);
		pair_hand(&p);
		pair_down(&p);
	}
	for (unsigned i = 0; i < 65; i++)
		close(fds[i]);
	close(disk);
}

/* Memory that messages reach, in both layouts of them, and which it is was found out before. */
static void maps_by_messages(void **state)
{
	static uint8_t memory[SIZE], got[4096];
	struct pair p;

	for (unsigned twin = 0; twin < 2; twin++) {
		for (unsigned layout = 0; layout < 3; layout++) {
			pair_up_with(&p, 1, twin ? TWIN : NULL);
			p.memory = memory;
			p.memory_at = IOVA;
			p.memory_size = SIZE;
			p.old_layout = layout == 2;
			fill(memory, SIZE, 3 + layout);
			client_enable(p.fd);
			assert_int_equal(client_map(p.fd, IOVA, SIZE, -1, 0), 0);
			if (layout) /* else it is not known yet */
				assert_int_equal(dma(&p, IOVA, PCITEST_CMD_READ), 0);
			handed_stop(p.from);
			pair_hand(&p);
			assert_int_equal(dma(&p, IOVA + 8192, PCITEST_CMD_READ), 0);
			assert_int_equal(client_read(p.fd, 2, 0, got, sizeof(got)), 0);
			assert_memory_equal(got, memory + 8192, sizeof(got));
			assert_int_equal(dma(&p, IOVA, PCITEST_CMD_WRITE), 0);
			assert_memory_equal(got, memory, sizeof(got));
			pair_down(&p);
		}
	}
}

/* ---- DMA that waits for the client's answers ---- */

static void start_read(struct pair *p, struct reply *question)
{
	struct pollfd on_dma = {.fd = p->dma, .events = POLLIN};
	uint32_t command = PCITEST_CMD_READ;

	client_put(p->fd, PCITEST_DMA_ADDRESS, p->memory_at, 8);
	client_put(p->fd, PCITEST_DMA_LENGTH, 4096, 4);
	client_put(p->fd, PCITEST_DMA_BUFFER, 0, 4);
	client_post(p->fd, 0, PCITEST_DMA_COMMAND, &command, 4, VFIO_USER_NO_REPLY);
	/* (The second socket does not wait.) */
	assert_int_equal(poll(&on_dma, 1, -1), 1);
	assert_int_equal(client_receive(p->dma, question), 0);
	assert_int_equal(question->hdr.command, VFIO_USER_DMA_READ);
}

/* A client that is frozen answers: its device need not be torn from what it does. */
static void answers_while_frozen(void **state)
{
	static uint8_t memory[SIZE], got[4096];
	static struct reply q;
	struct pair p;

	for (unsigned twin = 0; twin < 2; twin++) {
		pair_up_with(&p, 1, twin ? TWIN : NULL);
		p.memory = memory;
		p.memory_at = IOVA;
		p.memory_size = SIZE;
		fill(memory, SIZE, 5);
		client_enable(p.fd);
		assert_int_equal(client_map(p.fd, IOVA, SIZE, -1, 0), 0);
		start_read(&p, &q);
		assert_int_equal(handed_freeze(p.from, &p.err), 0);
		answer(&p, &q);
		while (read_register(p.from, PCITEST_DMA_COUNT) != 1)
			sched_yield();
		handed_pause(p.from);
		pair_hand(&p);
		assert_int_equal(client_get(p.fd, PCITEST_DMA_STATUS), PCITEST_DONE);
		assert_int_equal(client_read(p.fd, 2, 0, got, sizeof(got)), 0);
		assert_memory_equal(got, memory, sizeof(got));
		pair_down(&p);
	}
}

/* One that does not answer is not handed over, and goes on when it does. */
static void answers_that_are_due(void **state)
{
	static uint8_t memory[SIZE], got[4096];
	static struct reply q;
	struct pair p;

	pair_up(&p);
	p.memory = memory;
	p.memory_at = IOVA;
	p.memory_size = SIZE;
	fill(memory, SIZE, 7);
	client_enable(p.fd);
	assert_int_equal(client_map(p.fd, IOVA, SIZE, -1, 0), 0);
	start_read(&p, &q);
	handed_stop(p.from);
	assert_int_equal(handed_give(p.from, &p.handed, &p.err), -EBUSY);
	assert_says(&p, "has to answer for its memory");
	handed_back(p.from);
	answer(&p, &q);
	/* What was torn off is asked for again. */
	serve(&p, 1);
	assert_int_equal(client_read(p.fd, 2, 0, got, sizeof(got)), 0);
	assert_memory_equal(got, memory, sizeof(got));
	handed_stop(p.from);
	pair_hand(&p);
	assert_int_equal(client_read(p.fd, 2, 0, got, sizeof(got)), 0);
	assert_memory_equal(got, memory, sizeof(got));
	pair_down(&p);
}

/* ---- interrupts ---- */

static void msix(void **state)
{
	int fds[4], err_fd = eventfd(0, EFD_NONBLOCK), req_fd = eventfd(0, EFD_NONBLOCK);
	struct pair p;

	pair_up(&p);
	client_enable(p.fd);
	for (unsigned i = 0; i < 4; i++)
		fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	/* The second of five has none. */
	assert_int_equal(set_eventfds(&p, VFIO_PCI_MSIX_IRQ_INDEX, TRIGGER, 0, fds, 4), 0);
	assert_int_equal(set_eventfds(&p, VFIO_PCI_MSIX_IRQ_INDEX, TRIGGER, 1, NULL, 1), 0);
	assert_int_equal(set_eventfds(&p, VFIO_PCI_ERR_IRQ_INDEX, TRIGGER, 0, &err_fd, 1), 0);
	assert_int_equal(set_eventfds(&p, VFIO_PCI_REQ_IRQ_INDEX, TRIGGER, 0, &req_fd, 1), 0);
	client_put(p.fd, PCITEST_IRQ, 1u << 1, 4); /* pending, from here on */
	handed_stop(p.from);
	pair_hand(&p);
	client_put(p.fd, PCITEST_IRQ, 0xd, 4);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(taken(fds[i]), i != 1);
	assert_int_equal(client_get(p.fd, PCITEST_MSIX_PBA), 2);
	assert_int_equal(set_eventfds(&p, VFIO_PCI_MSIX_IRQ_INDEX, TRIGGER, 1, &fds[1], 1), 0);
	assert_int_equal(taken(fds[1]), 1);
	assert_true(irq_signal_err(irqs_of(p.from)));
	assert_int_equal(taken(err_fd), 1);
	assert_int_equal(taken(req_fd), 0);
	for (unsigned i = 0; i < 4; i++)
		close(fds[i]);
	close(err_fd);
	close(req_fd);
	pair_down(&p);
}

static void msi(void **state)
{
	int fds[2] = {eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK)};
	struct pair p;

	pair_up(&p);
	client_enable(p.fd);
	assert_int_equal(set_eventfds(&p, VFIO_PCI_MSI_IRQ_INDEX, TRIGGER, 0, fds, 2), 0);
	handed_stop(p.from);
	pair_hand(&p);
	client_put(p.fd, PCITEST_IRQ, 2, 4);
	assert_int_equal(taken(fds[0]), 0);
	assert_int_equal(taken(fds[1]), 1);
	close(fds[0]);
	close(fds[1]);
	pair_down(&p);
}

/* The pin, masked when it was signalled, and the eventfd that unmasks it. */
static void intx(void **state)
{
	int pin = eventfd(0, EFD_NONBLOCK), unmask = eventfd(0, EFD_NONBLOCK);
	const uint64_t one = 1;
	struct pollfd on_pin = {.fd = pin, .events = POLLIN};
	struct pair p;

	pair_up(&p);
	client_enable(p.fd);
	assert_int_equal(set_eventfds(&p, VFIO_PCI_INTX_IRQ_INDEX, TRIGGER, 0, &pin, 1), 0);
	assert_int_equal(set_eventfds(&p, VFIO_PCI_INTX_IRQ_INDEX, UNMASK, 0, &unmask, 1), 0);
	client_put(p.fd, PCITEST_INTX, PCITEST_INTX_LEVEL, 4);
	assert_int_equal(taken(pin), 1);
	handed_stop(p.from);
	pair_hand(&p);
	assert_int_equal(taken(pin), 0);
	assert_int_equal(write(unmask, &one, sizeof(one)), sizeof(one));
	assert_int_equal(poll(&on_pin, 1, -1), 1);
	assert_int_equal(taken(pin), 1);
	client_put(p.fd, PCITEST_INTX, 0, 4);
	/* It is taken back like any other. */
	assert_int_equal(set_eventfds(&p, VFIO_PCI_INTX_IRQ_INDEX, UNMASK, 0, NULL, 1), 0);
	close(pin);
	close(unmask);
	pair_down(&p);
}

/* ---- what came in ---- */

/* Commands that came while it was frozen are answered in their order, with their descriptors. */
static void commands_that_wait(void **state)
{
	int mem = memfd_create("memory", MFD_CLOEXEC), fd = eventfd(0, EFD_NONBLOCK);
	struct vfio_user_dma_map map = {sizeof(map), 3, 0, IOVA, SIZE};
	struct vfio_user_region_access scratch = {PCITEST_SCRATCH, 0, 8};
	uint64_t value = 0x0102030405060708, messages;
	struct pair p;

	assert_true(mem >= 0 && !ftruncate(mem, SIZE));
	pair_up(&p);
	client_enable(p.fd);
	messages = nr_messages(p.from);
	assert_int_equal(handed_freeze(p.from, &p.err), 0);
	client_send(p.fd, 100, VFIO_USER_DMA_MAP, 0, &map, sizeof(map), &mem, 1);
	send_eventfds(&p, 101, VFIO_PCI_MSIX_IRQ_INDEX, TRIGGER, 0, &fd, 1);
	client_post(p.fd, 0, PCITEST_SCRATCH, &value, 8, VFIO_USER_NO_REPLY);
	client_send(p.fd, 102, VFIO_USER_REGION_READ, 0, &scratch, sizeof(scratch), NULL, 0);
	client_send(p.fd, 103, 77, 0, NULL, 0, NULL, 0);
	while (nr_messages(p.from) < messages + 5)
		sched_yield();
	handed_pause(p.from);
	assert_int_equal(handed_give(p.from, &p.handed, &p.err), 0);
	assert_int_equal(p.handed.nr_fds, 3);
	pair_take(&p);
	for (uint16_t id = 100; id < 104; id++) {
		assert_int_equal(client_receive(p.fd, &p.r), 0);
		assert_int_equal(p.r.hdr.id, id);
		assert_int_equal(p.r.hdr.error, id == 103 ? ENOTTY : 0);
		if (id == 102)
			assert_memory_equal(p.r.payload + sizeof(scratch), &value, 8);
	}
	assert_int_equal(nr_messages(p.from), messages + 5);
	assert_int_equal(dma(&p, IOVA, PCITEST_CMD_READ), 0);
	client_put(p.fd, PCITEST_IRQ, 1, 4);
	assert_int_equal(taken(fd), 1);
	close(mem);
	close(fd);
	pair_down(&p);
}

/* As many as are kept, and more, which stay in the socket. */
static void more_commands_than_are_kept(void **state)
{
	struct vfio_user_region_access scratch = {PCITEST_SCRATCH, 0, 8};
	const unsigned nr = 200;
	struct pair p;

	pair_up(&p);
	client_put(p.fd, PCITEST_SCRATCH, 12, 8);
	assert_int_equal(handed_freeze(p.from, &p.err), 0);
	for (unsigned i = 0; i < nr; i++)
		client_send(p.fd, (uint16_t)i, VFIO_USER_REGION_READ, 0, &scratch, sizeof(scratch),
			    NULL, 0);
	while (nr_messages(p.from) < 64)
		sched_yield();
	handed_pause(p.from);
	pair_hand(&p);
	for (unsigned i = 0; i < nr; i++) {
		assert_int_equal(client_receive(p.fd, &p.r), 0);
		assert_int_equal(p.r.hdr.id, i);
		assert_int_equal(p.r.hdr.error, 0);
	}
	pair_down(&p);
}

/* A message of which a part had come, cut anywhere, with its descriptor or before that. */
static void half_a_message(void **state)
{
	const struct {
		struct vfio_user_header hdr;
		struct vfio_user_dma_map map;
	} m = {{77, VFIO_USER_DMA_MAP, sizeof(m), 0, 0}, {sizeof(m.map), 3, 0, IOVA, SIZE}};
	int mem = memfd_create("memory", MFD_CLOEXEC);
	uint64_t before;
	struct pair p;

	assert_true(mem >= 0 && !ftruncate(mem, SIZE));
	pair_up(&p);
	client_enable(p.fd);
	for (size_t cut = 1; cut < sizeof(m); cut += 7) {
		before = bytes_in(p.from);
		send_fds(p.fd, &m, cut, &mem, 1);
		while (bytes_in(p.from) < before + cut)
			sched_yield();
		handed_stop(p.from);
		pair_hand(&p);
		send_fds(p.fd, (const char *)&m + cut, sizeof(m) - cut, NULL, 0);
		assert_int_equal(client_receive(p.fd, &p.r), 0);
		assert_int_equal(p.r.hdr.id, 77);
		assert_int_equal(p.r.hdr.error, 0);
		assert_int_equal(dma(&p, IOVA, PCITEST_CMD_READ), 0);
		assert_int_equal(client_unmap(p.fd, IOVA, SIZE, 0, &(uint64_t){0}), 0);
	}
	close(mem);
	pair_down(&p);
}

/* One that is larger than what is received at a time; nothing, a little or much of it has come. */
static void half_a_large_message(void **state)
{
	static const size_t cuts[] = {15, 16, 17, 8191, 8192, 8193, 30000};
	static uint8_t m[16 + 16 + 32768], got[32768];
	const struct vfio_user_header hdr = {9, VFIO_USER_REGION_WRITE, sizeof(m), 0, 0};
	const struct vfio_user_region_access access = {4096, 2, 32768};
	uint64_t before;
	struct pair p;

	pair_up(&p);
	for (unsigned i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		fill(m, sizeof(m), i);
		memcpy(m, &hdr, sizeof(hdr));
		memcpy(m + sizeof(hdr), &access, sizeof(access));
		before = bytes_in(p.from);
		send_fds(p.fd, m, cuts[i], NULL, 0);
		while (bytes_in(p.from) < before + cuts[i])
			sched_yield();
		handed_stop(p.from);
		pair_hand(&p);
		send_fds(p.fd, m + cuts[i], sizeof(m) - cuts[i], NULL, 0);
		assert_int_equal(client_receive(p.fd, &p.r), 0);
		assert_int_equal(p.r.hdr.error, 0);
		assert_int_equal(client_read(p.fd, 2, 4096, got, sizeof(got)), 0);
		assert_memory_equal(got, m + 32, sizeof(got));
	}
	pair_down(&p);
}

/* Too many descriptors: the command is refused there as it would have been here. */
static void too_many_descriptors(void **state)
{
	struct vfio_user_dma_map map = {sizeof(map), 3, 0, IOVA, SIZE};
	int mem = memfd_create("memory", MFD_CLOEXEC), fds[3] = {mem, mem, mem};
	uint64_t messages;
	struct pair p;

	assert_true(mem >= 0 && !ftruncate(mem, SIZE));
	pair_up(&p);
	messages = nr_messages(p.from);
	assert_int_equal(handed_freeze(p.from, &p.err), 0);
	client_send(p.fd, 5, VFIO_USER_DMA_MAP, 0, &map, sizeof(map), fds, 3);
	while (nr_messages(p.from) < messages + 1)
		sched_yield();
	handed_pause(p.from);
	pair_hand(&p);
	assert_int_equal(client_receive(p.fd, &p.r), 0);
	assert_int_equal(p.r.hdr.error, EINVAL);
	close(mem);
	pair_down(&p);
}

/* ---- who is not handed over ---- */

/* Answers that its client does not take. */
static void answers_half_sent(void **state)
{
	struct vfio_user_region_access all = {0, 2, 65536};
	struct wire_connection_info now;
	struct pair p;
	int small = 1;

	pair_up(&p);
	assert_int_equal(
		setsockopt(server_socket(p.from), SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	for (unsigned i = 0; i < 4; i++)
		client_send(p.fd, (uint16_t)i, VFIO_USER_REGION_READ, 0, &all, sizeof(all), NULL,
			    0);
	/* It has begun to answer, and then stands. */
	do
		info(p.from, &now);
	while (now.bytes_out < 4096 || !is_full(p.from));
	handed_stop(p.from);
	assert_int_equal(handed_give(p.from, &p.handed, &p.err), -EBUSY);
	assert_says(&p, "takes no answers");
	handed_back(p.from);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(client_receive(p.fd, &p.r), 0);
		assert_int_equal(p.r.hdr.id, i);
		assert_int_equal(p.r.len, sizeof(all) + all.count);
	}
	handed_stop(p.from);
	pair_hand(&p);
	client_put(p.fd, PCITEST_SCRATCH, 1, 8);
	pair_down(&p);
}

/* The pages that were logged would be lost. */
static void logged_pages(void **state)
{
	struct {
		struct vfio_device_feature head;
		uint64_t page_size;
		uint32_t nr, reserved;
	} start = {{sizeof(start), VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START},
		   4096,
		   0,
		   0};
	struct vfio_device_feature stop = {
		sizeof(stop), VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP};
	struct pair p;

	pair_up(&p);
	assert_int_equal(
		client_call(p.fd, VFIO_USER_DEVICE_FEATURE, &start, sizeof(start), NULL, 0, &p.r),
		0);
	handed_stop(p.from);
	assert_int_equal(handed_give(p.from, &p.handed, &p.err), -EBUSY);
	assert_says(&p, "DMA logging on");
	handed_back(p.from);
	assert_int_equal(
		client_call(p.fd, VFIO_USER_DEVICE_FEATURE, &stop, sizeof(stop), NULL, 0, &p.r), 0);
	handed_stop(p.from);
	pair_hand(&p);
	pair_down(&p);
}

static void a_client_that_goes(void **state)
{
	struct pair p;
	int ret;

	pair_up(&p);
	handed_stop(p.from);
	close(p.fd);
	/* It has noticed, or whoever takes it over does. */
	ret = handed_give(p.from, &p.handed, &p.err);
	assert_true(!ret || ret == -ENOTCONN);
	if (!ret) {
		pair_take(&p);
		handed_alone(p.from);
		p.fd = client_of(p.from, 1, NULL, &p.r);
		pair_down(&p);
		return;
	}
	assert_says(&p, "has ");
	handed_back(p.from);
	handed_alone(p.from);
	p.fd = client_of(p.from, 1, NULL, &p.r);
	handed_stop(p.from);
	pair_hand(&p);
	client_put(p.fd, PCITEST_SCRATCH, 1, 8);
	pair_down(&p);
}

static void nobody(void **state)
{
	struct wire_handed handed;
	struct pair p;

	pair_up(&p);
	close(p.fd);
	handed_alone(p.from);
	handed_stop(p.from);
	assert_int_equal(handed_give(p.from, &handed, &p.err), 0);
	assert_int_equal(handed.len, 0);
	assert_int_equal(handed.nr_fds, 0);
	wire_handed_fini(&handed);
	handed_back(p.from);
	p.fd = client_of(p.from, 1, NULL, &p.r);
	pair_down(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agreed),
		cmocka_unit_test(again_and_again),
		cmocka_unit_test(maps_with_files),
		cmocka_unit_test(many_maps),
		cmocka_unit_test(maps_that_stay),
		cmocka_unit_test(maps_by_messages),
		cmocka_unit_test(answers_while_frozen),
		cmocka_unit_test(answers_that_are_due),
		cmocka_unit_test(msix),
		cmocka_unit_test(msi),
		cmocka_unit_test(intx),
		cmocka_unit_test(commands_that_wait),
		cmocka_unit_test(more_commands_than_are_kept),
		cmocka_unit_test(half_a_message),
		cmocka_unit_test(half_a_large_message),
		cmocka_unit_test(too_many_descriptors),
		cmocka_unit_test(answers_half_sent),
		cmocka_unit_test(logged_pages),
		cmocka_unit_test(a_client_that_goes),
		cmocka_unit_test(nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
