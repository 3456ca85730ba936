// SPDX-License-Identifier: BSD-3-Clause
/* Attacks with well-formed messages whose fields are wrong. */
#include "wire_attack.h"

#include <sys/eventfd.h>

static const uint64_t odd_offsets[] = {
	0,          1,          3,          0x14,       0xfff,      0x1000,
	0x1fff,     0x3ffc,     0x3fff,     0x4000,     0x4001,     0xffffffff,
	1ull << 32, 1ull << 39, 1ull << 40, 7ull << 40, 1ull << 62, (1ull << 63) - 1,
	1ull << 63, ~0ull - 8,  ~0ull - 1,  ~0ull,
};
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void reads_anywhere(const struct victim *v)
{
	static const uint32_t regions[] = {0, 1, 5, 6, 7, 8, 9, 10, 255, 0x10000, 0xffffff, ~0u};
	static const uint32_t counts[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 16, 4096};
	uint8_t data[4096];
	struct wire w;

	NEED(!attack_open(&w, v->path));
	for (size_t r = 0; r < COUNT(regions); r++) {
		for (size_t o = 0; o < COUNT(odd_offsets); o++) {
			for (size_t c = 0; c < COUNT(counts); c++) {
				long rc =
					wire_read(&w, regions[r], odd_offsets[o], data, counts[c]);

				NEED(rc != -ECONNRESET && rc != -EPROTO);
				CHECK(rc <= (long)counts[c]);
			}
		}
	}
	wire_close(&w);
}

static void writes_anywhere(const struct victim *v)
{
	static const uint32_t regions[] = {0, 1, 5, 6, 7, 8, 9, 255, 0x10000, 0xffffff, ~0u};
	static const uint32_t counts[] = {0, 1, 2, 3, 4, 5, 8, 16, 4096};
	static const uint8_t fills[] = {0, 0xff, 0xa5};
	uint8_t data[4096];
	struct wire w;

	NEED(!attack_open(&w, v->path));
	for (size_t f = 0; f < COUNT(fills); f++) {
		memset(data, fills[f], sizeof(data));
		for (size_t r = 0; r < COUNT(regions); r++) {
			for (size_t o = 0; o < COUNT(odd_offsets); o++) {
				for (size_t c = 0; c < COUNT(counts); c++) {
					long rc = wire_write(&w, regions[r], odd_offsets[o], data,
							     counts[c]);

					NEED(rc != -ECONNRESET && rc != -EPROTO);
				}
			}
		}
	}
	CHECK(attack_answers(&w));
	wire_close(&w);
}

/* `count` says something else than the message has, or more than was agreed. */
static void lying_counts(const struct victim *v)
{
	static const uint32_t counts[] = {
		0,        1,          3,        5,        8,  4096, 1 << 20, (1 << 20) + 1,
		16 << 20, 0x7fffffff, 1u << 31, ~0u - 15, ~0u};

	for (size_t i = 0; i < COUNT(counts); i++) {
		struct {
			struct wire_access access;
			uint8_t data[4];
		} write = {{.offset = 0x3c, .region = CONFIG, .count = counts[i]}, {0}};
		struct wire w;

		NEED(!attack_open(&w, v->path));
		CHECK(attack_send(&w, WIRE_REGION_WRITE, &write, 20, NULL, 0) != 0);
		wire_close(&w);
		NEED(!attack_open(&w, v->path));
		write.access.region = 0;
		write.access.offset = 0;
		if (counts[i] > w.max_xfer)
			CHECK(attack_send(&w, WIRE_REGION_READ, &write, 16, NULL, 0) != 0);
		else
			CHECK(attack_send(&w, WIRE_REGION_READ, &write, 20, NULL, 0) != -2);
		wire_close(&w);
	}
}

static void every_set_irqs(const struct victim *v)
{
	static const uint32_t indices[] = {0, 1, 2, 3, 4, 5, ~0u};
	static const uint32_t starts[] = {0, 1, ~0u};
	static const uint32_t counts[] = {0, 1, 3, ~0u};
	int fds[2] = {eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC)};
	struct wire w;

	NEED(!attack_open(&w, v->path));
	for (size_t i = 0; i < COUNT(indices); i++) {
		for (uint32_t flags = 0; flags < 128; flags++) {
			for (size_t s = 0; s < COUNT(starts); s++) {
				for (size_t c = 0; c < COUNT(counts); c++) {
					unsigned nfds = (flags + s + c) % 3;
					long rc = wire_set_irqs(&w, indices[i], flags, starts[s],
								counts[c], fds, nfds);

					if (rc == -ECONNRESET)
						NEED(!attack_open(&w, v->path));
					else
						CHECK(rc == 0 || rc == -EINVAL || rc == -ENOTTY ||
						      rc == -EBADF || rc == -EBUSY ||
						      rc == -ERANGE || rc == -EFAULT);
				}
			}
		}
	}
	CHECK(attack_answers(&w));
	wire_close(&w);
	close(fds[0]);
	close(fds[1]);
}

/* argsz, payload, count and descriptors that contradict each other. */
static void lying_set_irqs(const struct victim *v)
{
	static const uint32_t argszs[] = {0, 19, 20, 21, 24, 4096, 1u << 20, ~0u};
	static const uint32_t counts[] = {0, 1, 2, 8, 2048, 1u << 20};
	int fd = eventfd(0, EFD_CLOEXEC);

	for (size_t a = 0; a < COUNT(argszs); a++) {
		for (size_t c = 0; c < COUNT(counts); c++) {
			for (uint32_t data = 1; data <= 4; data <<= 1) {
				struct {
					struct wire_irq_set set;
					uint8_t bools[8];
				} m = {{argszs[a], data | 32, 2, 0, counts[c]}, {1, 1, 1, 1}};
				struct wire w;

				NEED(!attack_open(&w, v->path));
				attack_send(&w, WIRE_SET_IRQS, &m, 20, &fd, 1);
				wire_close(&w);
				NEED(!attack_open(&w, v->path));
				attack_send(&w, WIRE_SET_IRQS, &m, 28, NULL, 0);
				attack_send(&w, WIRE_SET_IRQS, &m, 28, &fd, 1);
				wire_close(&w);
			}
		}
	}
	close(fd);
}

static void odd_infos(const struct victim *v)
{
	static const uint32_t argszs[] = {0, 1, 15, 16, 31, 32, 33, 39, 40, 4096, 1u << 20, ~0u};
	static const uint32_t indices[] = {0, 4, 5, 6, 7, 8, 9, 10, 100, 1u << 31, ~0u};

	for (size_t a = 0; a < COUNT(argszs); a++) {
		for (size_t i = 0; i < COUNT(indices); i++) {
			struct wire_region_info region = {.argsz = argszs[a], .index = indices[i]};
			const uint32_t irq[4] = {argszs[a], 0, indices[i], 0};
			struct wire w;

			NEED(!attack_open(&w, v->path));
			attack_send(&w, WIRE_GET_REGION_INFO, &region, sizeof(region), NULL, 0);
			attack_send(&w, WIRE_GET_IRQ_INFO, irq, sizeof(irq), NULL, 0);
			attack_send(&w, WIRE_GET_REGION_IO_FDS, irq, sizeof(irq), NULL, 0);
			attack_send(&w, WIRE_GET_INFO, irq, sizeof(irq), NULL, 0);
			CHECK(attack_answers(&w));
			wire_close(&w);
		}
	}
}

/* A reply is never longer than the client said it may be. */
static void replies_within_argsz(const struct victim *v)
{
	struct wire_message answer;
	struct wire w;

	NEED(!attack_open(&w, v->path));
	for (uint32_t index = 0; index < 9; index++) {
		for (uint32_t argsz = 32; argsz < 128; argsz += 8) {
			const struct wire_region_info ask = {.argsz = argsz, .index = index};
			long rc = wire_call(&w, WIRE_GET_REGION_INFO, &ask, sizeof(ask), NULL, 0,
					    &answer);

			if (rc < 0)
				continue;
			CHECK(rc >= 32 && rc <= (long)argsz);
			wire_drop(&answer);
		}
	}
	wire_close(&w);
}

static void odd_mappings(const struct victim *v)
{
	static const struct {
		uint64_t address, size;
		uint32_t flags;
		long want;
	} maps[] = {
		{0x100000, 0, 3, -EINVAL},        {0x100000, 1, 3, -EINVAL},
		{0x100000, PAGE + 1, 3, -EINVAL}, {0x100800, PAGE, 3, -EINVAL},
		{-PAGE, 2 * PAGE, 3, -EOVERFLOW}, {PAGE, -PAGE, 3, -EOVERFLOW},
		{0, ~0ull, 3, -EOVERFLOW},        {0x100000, PAGE, 0, -EINVAL},
		{0x100000, PAGE, 4, -EINVAL},     {0x100000, PAGE, 1u << 31, -EINVAL},
		{0xfee00000, PAGE, 3, -EINVAL},   {0, 1ull << 63, 3, -EINVAL},
	};
	int fd = attack_memfd(16 * PAGE);
	struct wire w;

	NEED(fd >= 0 && !attack_open(&w, v->path));
	for (int with_fd = 0; with_fd < 2; with_fd++) {
		for (size_t i = 0; i < COUNT(maps); i++) {
			const struct wire_map map = {sizeof(map), maps[i].flags, 0, maps[i].address,
						     maps[i].size};
			long rc = wire_call(&w, WIRE_DMA_MAP, &map, sizeof(map), &fd,
					    (unsigned)with_fd, NULL);

			/* A wrap of size and of the file's offset may be found in either order. */
			if (!CHECK(rc == maps[i].want ||
				   (maps[i].want == -EOVERFLOW && rc == -EINVAL)))
				printf("# mapping %zu, %d descriptors: %ld\n", i, with_fd, rc);
		}
	}
	CHECK(!wire_map(&w, 0x100000, 2 * PAGE, fd, 0));
	CHECK(wire_map(&w, 0x100000, 2 * PAGE, fd, 0) == -EEXIST);
	CHECK(wire_map(&w, 0x101000, 2 * PAGE, -1, 0) == -EEXIST);
	CHECK(wire_unmap(&w, 0x100000, PAGE, 0, NULL) == -EINVAL);
	CHECK(wire_unmap(&w, 0x100000, 2 * PAGE, 4, NULL) == -EINVAL);
	CHECK(wire_unmap(&w, 0x100000, 2 * PAGE, 1u << 31, NULL) == -EINVAL);
	CHECK(wire_unmap(&w, 0x100800, 2 * PAGE, 0, NULL) == -EINVAL);
	CHECK(wire_unmap(&w, PAGE, 0, 2, NULL) == -EINVAL);
	wire_close(&w);
	close(fd);
}

static void more_mappings_than_allowed(const struct victim *v)
{
	uint64_t done = 0, gone = 0;
	struct wire w;
	long rc = 0;

	NEED(!attack_open(&w, v->path));
	while (done < 70000 && !rc) {
		/* Every second page, so that no two can become one. */
		rc = wire_map(&w, 0x10000000 + done * 2 * PAGE, PAGE, -1, 0);
		done += !rc;
	}
	CHECK(rc == -ENOSPC && done == 65535);
	CHECK(attack_answers(&w));
	CHECK(!wire_unmap(&w, 0, 0, 2, &gone) && gone == done * PAGE);
	wire_close(&w);
}

static void write_multi(const struct victim *v)
{
	static const uint64_t numbers[] = {0, 1, 2, 3, 100, 1ull << 32, 1ull << 63, ~0ull};
	static const uint32_t counts[] = {0, 1, 3, 8, 9, 4096, ~0u};

	for (size_t n = 0; n < COUNT(numbers); n++) {
		for (size_t c = 0; c < COUNT(counts); c++) {
			struct {
				uint64_t number;
				struct {
					struct wire_access access;
					uint64_t data;
				} writes[2];
			} m = {numbers[n],
			       {{{0x3c, CONFIG, counts[c]}, 0}, {{~0ull, 9, counts[c]}, 0}}};

			for (unsigned flags = 0; flags <= WIRE_NO_REPLY; flags += WIRE_NO_REPLY) {
				struct wire w;

				NEED(!attack_open(&w, v->path));
				if (!wire_send(&w, WIRE_WRITE_MULTI, flags, &m, sizeof(m), NULL,
					       0) &&
				    !flags)
					attack_verdict(&w);
				attack_send(&w, WIRE_GET_INFO, (uint32_t[4]){16}, 16, NULL, 0);
				wire_close(&w);
			}
		}
	}
}

static void odd_features(const struct victim *v)
{
	static const uint32_t argszs[] = {0, 7, 8, 9, 16, 24, 32, 4096, 1u << 20, ~0u};
	uint32_t message[66];

	for (uint32_t feature = 0; feature < 16; feature++) {
		for (uint32_t op = 0; op < 16; op++) {
			for (size_t a = 0; a < COUNT(argszs); a++) {
				struct wire w;

				memset(message, op & 1 ? 0xff : 0, sizeof(message));
				message[0] = argszs[a];
				message[1] = feature | op << 16;
				if (a % 4 == 0)
					NEED(!attack_open(&w, v->path));
				attack_send(&w, WIRE_FEATURE, message, 8 + a * 24, NULL, 0);
				if (a % 4 == 3 || a + 1 == COUNT(argszs))
					wire_close(&w);
			}
		}
	}
}

static void migration_data(const struct victim *v)
{
	static const uint32_t sizes[] = {0, 1, 8, 4096, 1 << 20, 1u << 31, ~0u};

	for (size_t i = 0; i < COUNT(sizes); i++) {
		const uint32_t message[4] = {sizes[i], sizes[i], 0, 0};
		struct wire w;

		NEED(!attack_open(&w, v->path));
		CHECK(attack_send(&w, WIRE_MIG_READ, message, 8, NULL, 0) != 0);
		wire_close(&w);
		NEED(!attack_open(&w, v->path));
		CHECK(attack_send(&w, WIRE_MIG_WRITE, message, 16, NULL, 0) != 0);
		wire_close(&w);
	}
}

static void resets(const struct victim *v)
{
	struct wire w;

	NEED(!attack_open(&w, v->path));
	for (int i = 0; i < 100; i++)
		CHECK(!wire_send(&w, WIRE_RESET, i % 3 ? WIRE_NO_REPLY : 0, NULL, 0, NULL, 0));
	CHECK(attack_answers(&w));
	wire_close(&w);
}

const struct attack attacks_calls[] = {
	{"reads anywhere", reads_anywhere},
	{"writes anywhere", writes_anywhere},
	{"counts that lie", lying_counts},
	{"every SET_IRQS", every_set_irqs},
	{"SET_IRQS that contradicts itself", lying_set_irqs},
	{"questions about nothing", odd_infos},
	{"replies within argsz", replies_within_argsz},
	{"mappings that cannot be", odd_mappings},
	{"more mappings than allowed", more_mappings_than_allowed},
	{"WRITE_MULTI that lies", write_multi},
	{"DEVICE_FEATURE of all kinds", odd_features},
	{"migration data out of place", migration_data},
	{"a hundred resets", resets},
	{0},
};
