/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory without an fd: DMA_READ and DMA_WRITE, in both layouts, and clients that answer badly. */
#include "wire_util.h"

#define IOVA 0x100000ull
#define SIZE 65536u
#define MSGS 64

enum layout { NEW, OLD };

struct client {
	struct wire_fixture f;
	int fd, dma; /* the socket of DMA messages: @fd, or the second one */
	enum layout layout;
	uint8_t memory[SIZE];
	unsigned reads, writes;
};

static void up_with(struct client *c, const char *json)
{
	static struct reply r;

	memset(c, 0, sizeof(*c));
	wire_up(&c->f);
	c->fd = client_connect(&c->f);
	assert_int_equal(client_version(c->fd, json, &r), 0);
	c->dma = r.fd >= 0 ? r.fd : c->fd;
	client_enable(c->fd);
	assert_int_equal(client_map(c->fd, IOVA, SIZE, -1, 0), 0);
}

static void up(struct client *c)
{
	up_with(c, NULL);
}

static void down(struct client *c)
{
	if (c->dma != c->fd)
		close(c->dma);
	close(c->fd);
	wire_down(&c->f);
}

static void command(struct client *c, uint64_t iova, uint32_t len, uint32_t cmd)
{
	client_put(c->fd, W_IOVA, iova, 8);
	client_put(c->fd, W_LEN, len, 4);
	/* Its answer may come behind the questions: posted. */
	client_post(c->fd, 0, W_CMD, &cmd, 4, VFIO_USER_NO_REPLY);
}

/* As QEMU answers: its messages are 32 bytes and the data, whichever layout it has. */
static void answer(struct client *c, const struct reply *q)
{
	static uint8_t out[32 + SIZE];
	struct vfio_user_header hdr = q->hdr;
	uint32_t at = c->layout == OLD ? 28 : 32, count;
	uint64_t address;

	assert_true(q->len >= 16);
	memcpy(&address, q->payload, 8);
	memcpy(&count, q->payload + 8, 4);
	assert_true(address >= IOVA && address + count <= IOVA + SIZE);
	hdr.flags = VFIO_USER_TYPE_REPLY;
	memset(out, 0, sizeof(out));
	memcpy(out + 16, q->payload, 16);
	if (hdr.command == VFIO_USER_DMA_READ) {
		hdr.size = 32 + count;
		memcpy(out + at, c->memory + (address - IOVA), count);
		c->reads++;
	} else {
		assert_int_equal(hdr.command, VFIO_USER_DMA_WRITE);
		assert_int_equal(q->len, 16 + count);
		memcpy(c->memory + (address - IOVA), q->payload + at - 16, count);
		hdr.size = 16;
		c->writes++;
	}
	memcpy(out, &hdr, sizeof(hdr));
	send_fds(c->dma, out, hdr.size, NULL, 0);
}

/* Answer until the device has done @done commands. */
static void serve(struct client *c, uint32_t done)
{
	static struct reply q;
	struct vfio_user_region_access a = {W_DONE, 0, 4};
	uint32_t value = 0;

	for (;;) {
		client_send(c->fd, 7, VFIO_USER_REGION_READ, 0, &a, sizeof(a), NULL, 0);
		for (;;) {
			struct pollfd p[2] = {{c->fd, POLLIN, 0}, {c->dma, POLLIN, 0}};

			assert_true(poll(p, 2, -1) > 0);
			assert_int_equal(client_receive(p[1].revents ? c->dma : c->fd, &q), 0);
			if (vfio_user_is_reply(&q.hdr))
				break;
			answer(c, &q);
		}
		memcpy(&value, q.payload + sizeof(a), 4);
		if (value >= done)
			return;
	}
}

static void fill(struct client *c)
{
	for (uint32_t i = 0; i < SIZE; i++)
		c->memory[i] = (uint8_t)(i * 7 + i / 256 + 1);
}

static void both_layouts(void **state)
{
	static struct client c;

	for (int layout = NEW; layout <= OLD; layout++) {
		/* Where what is read first has its zeros: nowhere, at the start, the end, both. */
		for (unsigned zeros = 0; zeros < 4; zeros++) {
			up(&c);
			c.layout = (enum layout)layout;
			fill(&c);
			if (zeros & 1)
				memset(c.memory, 0, 8);
			if (zeros & 2)
				memset(c.memory + 56, 0, 8);
			command(&c, IOVA, 64, 1);
			serve(&c, 1);
			assert_int_equal(client_get(c.fd, W_STATUS), 0);
			assert_memory_equal(c.f.dev->data, c.memory, 64);
			command(&c, IOVA + 1000, 5000, 1);
			serve(&c, 2);
			assert_memory_equal(c.f.dev->data, c.memory + 1000, 5000);
			command(&c, IOVA + 20001, 5000, 2);
			serve(&c, 3);
			assert_memory_equal(c.memory + 20001, c.f.dev->data, 5000);
			assert_int_equal(c.memory[20000], (uint8_t)(20000 * 7 + 20000 / 256 + 1));
			assert_int_equal(c.memory[25001], (uint8_t)(25001 * 7 + 25001 / 256 + 1));
			down(&c);
		}
	}
}

/* Nothing was read yet but zeros: what is to be overwritten is read first. */
static void write_before_any_read(void **state)
{
	static struct client c;

	for (int layout = NEW; layout <= OLD; layout++) {
		up(&c);
		c.layout = (enum layout)layout;
		command(&c, IOVA, 4096, 1); /* zeros */
		serve(&c, 1);
		fill(&c);
		memset(c.f.dev->data, 0xa5, 100);
		command(&c, IOVA + 4, 100, 2);
		serve(&c, 2);
		for (unsigned i = 0; i < 100; i++)
			assert_int_equal(c.memory[4 + i], 0xa5);
		assert_int_equal(c.memory[104], (uint8_t)(104 * 7 + 1));
		down(&c);
	}
}

static void one_byte(void **state)
{
	static struct client c;

	for (int layout = NEW; layout <= OLD; layout++) {
		up(&c);
		c.layout = (enum layout)layout;
		c.memory[77] = 9;
		command(&c, IOVA + 77, 1, 1);
		serve(&c, 1);
		assert_int_equal(c.f.dev->data[0], 9);
		command(&c, IOVA + 3, 1, 2);
		serve(&c, 2);
		assert_int_equal(c.memory[3], 9);
		assert_int_equal(c.memory[2] | c.memory[4], 0);
		down(&c);
	}
}

/* No message is larger than the client takes; all that may be out at once are. */
static void small_messages(void **state)
{
	static struct client c;

	up_with(&c, "{\"capabilities\":{\"max_data_xfer_size\":512}}");
	fill(&c);
	command(&c, IOVA, 8192, 1);
	serve(&c, 1);
	assert_int_equal(c.reads, 16);
	assert_memory_equal(c.f.dev->data, c.memory, 8192);
	command(&c, IOVA + 16384, 8192, 2);
	serve(&c, 2);
	assert_int_equal(c.writes, 16);
	assert_memory_equal(c.memory + 16384, c.memory, 8192);
	down(&c);
}

/* Answers in the opposite order. */
static void any_order(void **state)
{
	static struct reply q[MSGS];
	static struct client c;
	unsigned n = 0;

	up_with(&c, "{\"capabilities\":{\"max_data_xfer_size\":512}}");
	fill(&c);
	command(&c, IOVA, 64, 1);
	serve(&c, 1); /* the layout is known */
	command(&c, IOVA, 4096, 1);
	for (; n < 8; n++)
		assert_int_equal(client_receive(c.dma, &q[n]), 0);
	while (n)
		answer(&c, &q[--n]);
	serve(&c, 2);
	assert_memory_equal(c.f.dev->data, c.memory, 4096);
	down(&c);
}

static void second_socket(void **state)
{
	static struct client c;

	up_with(&c, "{\"capabilities\":{\"max_msg_fds\":1,\"twin_socket\":{\"supported\":true}}}");
	assert_true(c.dma != c.fd);
	fill(&c);
	command(&c, IOVA, 4096, 1);
	serve(&c, 1);
	assert_memory_equal(c.f.dev->data, c.memory, 4096);
	/* Commands have no business there. */
	client_send(c.dma, 1, VFIO_USER_DEVICE_RESET, 0, NULL, 0, NULL, 0);
	assert_int_equal(client_receive(c.fd, &(struct reply){.fd = -1}), -1);
	down(&c);
}

static void errors_and_lies(void **state)
{
	static struct client c;
	static struct reply q;

	up(&c);
	fill(&c);
	for (unsigned lie = 0; lie < 4; lie++) {
		uint8_t out[32 + 64] = {0};
		struct vfio_user_header hdr;

		command(&c, IOVA, 64, 1);
		assert_int_equal(client_receive(c.dma, &q), 0);
		hdr = vfio_user_reply(&q.hdr, 32 + 64, lie == 0 ? EFAULT : 0);
		memcpy(out + 16, q.payload, 16);
		if (lie == 0)
			hdr.size = 16;
		else if (lie == 1)
			hdr.size = 32 + 63; /* short */
		else if (lie == 2)
			out[16] ^= 1; /* another address */
		else
			out[24] ^= 1; /* another count */
		memcpy(out, &hdr, sizeof(hdr));
		send_fds(c.dma, out, hdr.size, NULL, 0);
		serve(&c, lie + 1);
		assert_int_equal(client_get(c.fd, W_STATUS), EIO);
	}
	/* The right answer twice. */
	command(&c, IOVA, 64, 1);
	assert_int_equal(client_receive(c.dma, &q), 0);
	answer(&c, &q);
	answer(&c, &q);
	while (client_receive(c.fd, &q) == 0)
		;
	down(&c);
}

/* A reset, an unmap and the end do not wait for a client that does not answer; a late answer is
 * taken, and changes nothing. */
static void no_answer(void **state)
{
	static struct reply q, late;
	static struct client c;
	uint64_t size;

	up(&c);
	fill(&c);
	command(&c, IOVA, 64, 1);
	assert_int_equal(client_receive(c.dma, &late), 0);
	assert_int_equal(client_call(c.fd, VFIO_USER_DEVICE_RESET, NULL, 0, NULL, 0, &q), 0);
	answer(&c, &late);
	assert_int_equal(client_get(c.fd, W_ID), WDEV_ID);
	command(&c, IOVA, 64, 1);
	assert_int_equal(client_receive(c.dma, &late), 0);
	assert_int_equal(client_unmap(c.fd, IOVA, SIZE, 0, &size), 0);
	assert_int_equal(size, SIZE);
	answer(&c, &late);
	assert_int_equal(client_get(c.fd, W_ID), WDEV_ID);
	assert_int_equal(client_map(c.fd, IOVA, SIZE, -1, 0), 0);
	command(&c, IOVA, 64, 1);
	assert_int_equal(client_receive(c.dma, &late), 0);
	down(&c);
}

/* What is to be written is read first while the layout is not known.  When the memory is unmapped
 * before the answer to that, nothing is written any more. */
static void no_write_after_unmap(void **state)
{
	static struct reply late;
	static struct client c;
	uint64_t size;

	for (unsigned zeros = 0; zeros < 2; zeros++) {
		up(&c);
		if (!zeros)
			fill(&c);
		command(&c, IOVA, 64, 2);
		assert_int_equal(client_receive(c.dma, &late), 0);
		assert_int_equal(late.hdr.command, VFIO_USER_DMA_READ);
		assert_int_equal(client_unmap(c.fd, IOVA, SIZE, 0, &size), 0);
		assert_int_equal(size, SIZE);
		answer(&c, &late);
		/* The next message is the answer to this. */
		assert_int_equal(client_get(c.fd, W_ID), WDEV_ID);
		down(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_layouts),
		cmocka_unit_test(write_before_any_read),
		cmocka_unit_test(one_byte),
		cmocka_unit_test(small_messages),
		cmocka_unit_test(any_order),
		cmocka_unit_test(second_socket),
		cmocka_unit_test(errors_and_lies),
		cmocka_unit_test(no_answer),
		cmocka_unit_test(no_write_after_unmap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
