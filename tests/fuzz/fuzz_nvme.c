/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hostile driver for the NVMe controller: the input is a program of register writes, commands,
 * data pointers, faults and resets, run against the harness of the unit tests, which checks what
 * the controller asks of the core and of the storage.  Whatever it does, the controller can be
 * reset and used afterwards.
 *
 * An input whose first byte is FUZZ_VFS or more is a program for a controller with VFs
 * (fuzz_nvme_vfs.c).
 *
 * With libFuzzer (-Dfuzz=true, clang), or with replay.c as an ordinary program.
 */
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/nvme/nvme_spec.h"
#include "fuzz_nvme.h"
#include "nvme_harness.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t pointer(struct input *in)
{
	switch (u8(in) % 8) {
	case 0:
		return (uint64_t)u32(in) << 32 | u32(in);
	case 1:
		return H_MEM_BASE + H_MEM_SIZE - u16(in);
	case 2:
		return H_MEM_BASE + u32(in) % H_MEM_SIZE;
	case 3:
		return PLAY_BASE + u16(in);
	case 4:
		return PLAY_BASE + (u16(in) & ~7u);
	default:
		return PLAY_BASE + (u16(in) & 0xf000u);
	}
}

static const uint8_t admin_ops[] = {0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x08,
				    0x09, 0x0a, 0x0c, 0x7c, 0x80, 0xff, 0x0d};
static const uint8_t io_ops[] = {0x00, 0x01, 0x02, 0x02, 0x01, 0x04, 0x05, 0x08, 0x09, 0x0c, 0x99};

static void put_command(struct harness *h, struct input *in)
{
	unsigned qid = u8(in) % 6;
	struct nvme_sqe cmd = {0};
	uint8_t how = u8(in);

	if (!h->q[qid].size)
		return;
	cmd.opcode = qid ? io_ops[u8(in) % sizeof(io_ops)] : admin_ops[u8(in) % sizeof(admin_ops)];
	cmd.nsid = how & 1 ? 1u + u8(in) % 3 : how & 2 ? 1 : u32(in);
	cmd.flags = how & 4 ? u8(in) : 0;
	cmd.prp1 = pointer(in);
	cmd.prp2 = pointer(in);
	if (how & 8) {
		cmd.flags = 0x40;
		cmd.sgl.len = u16(in);
		cmd.sgl.id = (uint8_t)(u8(in) % 5 << 4);
	}
	cmd.cdw10 = how & 16 ? u32(in) : u16(in);
	cmd.cdw11 = how & 32 ? u32(in) : u8(in);
	cmd.cdw12 = how & 64 ? u32(in) : u8(in);
	cmd.cdw13 = how & 128 ? u32(in) : 0;
	if (u8(in) % 16 == 0)
		h->next_cid = u16(in);
	if (qid && u8(in) % 8 == 0) { /* Compare and Write */
		cmd.opcode = NVME_IO_COMPARE;
		cmd.flags = (cmd.flags & 0x40) | NVME_FUSE_FIRST;
		cmd.cdw12 &= ~0xfffeu;
		h_push(h, qid, &cmd);
		cmd.opcode = NVME_IO_WRITE;
		cmd.flags = (cmd.flags & 0x40) | NVME_FUSE_SECOND;
	}
	h_push(h, qid, &cmd);
	if (u8(in) % 4)
		h_ring_sq(h, qid);
}

void fuzz_bring_up(struct harness *h)
{
	uint64_t base = H_MEM_BASE + 0x100000;

	h_write32(h, 0x14, 0);
	h_write(h, NVME_REG_CMBMSC, 8, 0);
	h_write32(h, NVME_REG_PMRMSCL, 0);
	h_run(h);
	for (unsigned i = 0; i < 6; i++) {
		h->q[i] = (struct h_queue){.sq = base,
					   .cq = base + 0x8000,
					   .size = i < 3 ? 64 : 4,
					   .cq_size = i < 4 ? 64 : 3,
					   .cqid = i,
					   .phase = true};
		memset(h_ptr(h, base), 0, 0x10000);
		base += 0x10000;
	}
	h_write32(h, 0x24, 63 << 16 | 63);
	h_write(h, 0x28, 8, h->q[0].sq);
	h_write(h, 0x30, 8, h->q[0].cq);
	h_write32(h, 0x14, 4 << 20 | 6 << 16 | 1);
	h_run(h);
	for (unsigned i = 1; i < 6; i++) {
		struct nvme_sqe cq = {.opcode = NVME_ADM_CREATE_CQ,
				      .prp1 = h->q[i].cq,
				      .cdw10 = (h->q[i].cq_size - 1) << 16 | i,
				      .cdw11 = i << 16 | 3};
		struct nvme_sqe sq = {.opcode = NVME_ADM_CREATE_SQ,
				      .prp1 = h->q[i].sq,
				      .cdw10 = (h->q[i].size - 1) << 16 | i,
				      .cdw11 = i << 16 | 1};

		h_push(h, 0, &cq);
		h_push(h, 0, &sq);
	}
	h_ring_sq(h, 0);
	h_run(h);
}

void fuzz_consume(struct harness *h)
{
	struct nvme_cqe cqe;

	for (unsigned i = 0; i < 6; i++) {
		if (!h->q[i].cq_size)
			continue;
		for (unsigned n = 0; n < h->q[i].cq_size && h_pop(h, i, &cqe); n++)
			;
		h_ring_cq(h, i);
	}
}

static void settings(struct harness *h, struct input *in)
{
	uint8_t v = u8(in);

	h->delay_dma = v & 1;
	h->dma_shuffle = v & 0x80;
	h->block_async = v & 2;
	h->no_pin = v & 4;
	h->split_pin = v & 8;
	h->message = v & 16;
	for (unsigned i = 0; i < h->nr_blocks; i++) {
		h->blocks[i]->direct = v & 32;
		h->blocks[i]->fail = v & 64;
		h->blocks[i]->fail_op = (enum block_op)(v % 5);
		h->blocks[i]->fail_after = 1;
		h->blocks[i]->fail_errno = -5;
	}
	h_no_faults(h);
	if (v & 128)
		h_fault(h, pointer(in), u16(in) + 1u);
}

/* It is moved, to itself: with a state that somebody has changed on the way. */
static void move(struct harness *h, struct input *in)
{
	struct model_stream s = {.nr = 0};
	unsigned n = u8(in) % 4;

	for (unsigned i = 0; i < H_VFS; i++) {
		if (h->vfs[i])
			return; /* it stays with its VFs */
	}
	h_no_faults(h);
	for (unsigned i = 0; i < h->nr_blocks; i++)
		h->blocks[i]->fail = false;
	h_pause(h);
	for (unsigned i = u8(in) % 4; i; i--)
		h_write32(h, u16(in) & 0x1ffc, u32(in));
	h_run(h);
	if (!h_leave(h)) {
		int r;

		h_save(h, &s);
		for (; n; n--) {
			struct model_section *section = &s.sections[u8(in) % s.nr];

			if (section->len)
				section->bytes[u16(in) % section->len] = u8(in);
		}
		h_load(h, &s);
		model_stream_drop(&s);
		r = h_enter(h);
		assert(!r);
	}
	h_resume(h);
}

void fuzz_one(struct harness *h, struct input *in)
{
	uint8_t op = u8(in);

	switch (op % 16) {
	case 0:
	case 1:
	case 2:
	case 3:
		put_command(h, in);
		break;
	case 4:
		h_write32(h, 0x1000 + 4 * (u8(in) % 14), u8(in));
		break;
	case 5:
		h_write(h, u16(in) & 0x1ff8, op & 16 ? 8 : 4, (uint64_t)u32(in) << 32 | u32(in));
		break;
	case 6:
	case 7:
		for (unsigned n = 1 + u8(in) % 16; n; n--)
			h_work(h);
		break;
	case 8:
		h_complete_dma(h, 1 + u8(in) % 8);
		break;
	case 9:
		h_complete_io(h, 1 + u8(in) % 8);
		break;
	case 10:
		fuzz_consume(h);
		break;
	case 11: { /* lists in client memory */
		uint64_t *p = h_ptr(h, PLAY_BASE + (u16(in) & 0xff00u));

		for (unsigned n = 0; n < 8; n++)
			p[n] = op & 16 ? pointer(in)
				       : (uint64_t)u32(in) << 32 | (PLAY_BASE & 0xffffffff);
		break;
	}
	case 12:
		settings(h, in);
		break;
	case 13:
		h_run(h);
		break;
	case 14:
		switch (u8(in) % 16) {
		case 0:
			h_reset(h, UVFIO_RESET_FUNCTION);
			break;
		case 1:
			h_write32(h, 0x20, NVME_NSSR_MAGIC);
			break;
		case 2:
			h->bus_master = !h->bus_master;
			if (h->bus_master)
				h_resume(h);
			break;
		case 3:
			h_write32(h, 0x14, 4 << 20 | 6 << 16 | 1 << 14 | 1);
			break;
		case 4:
			h_advance(h, 1000000);
			break;
		case 6:
		case 7:
			move(h, in);
			break;
		case 5:
			if (h->nr_blocks && !h->pf) {
				struct block *b = h->blocks[1]; /* 0: the PMR's */

				b->info.size = b->info.size == 1 << 20 ? 1 << 19 : 1 << 20;
				h->in_ctx = true;
				b->resize_fn(b->resize_arg);
				h->in_ctx = false;
			}
			break;
		default:
			h_write32(h, 0x14, u32(in));
			break;
		}
		break;
	case 15: {
		uint8_t how = u8(in);

		if (how % 4 == 0)
			fuzz_bring_up(h);
		else if (how % 4 == 1) /* the controller's own memory, over what is there */
			h_write(h, NVME_REG_CMBMSC, 8, pointer(in) | (how >> 2 & 3));
		else if (how % 4 == 2)
			h_lose_memory(how & 4);
		else if (how & 4)
			h_pmrsts_ask(h);
		else if (how & 8)
			h_write32(h, NVME_REG_PMRCTL, how >> 4 & 1);
		else
			h_write32(h, NVME_REG_PMRMSCL, (uint32_t)pointer(in) | (how >> 4 & 2));
		break;
	}
	}
}

static void with_file(struct harness *h)
{
	h->file_size = 64 << 10;
}

struct harness *fuzz_new(const char *more)
{
	char args[256];

	snprintf(args, sizeof(args),
		 "memory=1M,move=none,queues=5,cmb=32K,pmr=region%s,"
		 "ns=memory=256K:move=none:blocksize=4096,ns=memory=64K:readonly=on",
		 more);
	return h_new_with(args, with_file);
}

void fuzz_behave(struct harness *h)
{
	h_no_faults(h);
	h_lose_memory(false);
	for (unsigned i = 0; i < h->nr_blocks; i++)
		h->blocks[i]->fail = false;
	h->bus_master = h->message = true;
}

void fuzz_works(struct harness *h)
{
	struct nvme_sqe read = h_rw(NVME_IO_READ, 1, 0, 1, PLAY_BASE, 0);
	unsigned status;

	for (unsigned i = 0; i < 6; i++)
		fuzz_consume(h);
	h_run(h);
	status = h_cmd(h, 1, &read, NULL);
	/* Blocks may have been marked uncorrectable; nothing else may be wrong. */
	assert(!status || status == DNR(NVME_SC_UNRECOVERED_READ));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct harness *h;

	if (size && *data >= FUZZ_VFS) {
		fuzz_vfs(&in);
		return 0;
	}
	h = fuzz_new("");
	fuzz_bring_up(h);
	while (in.left)
		fuzz_one(h, &in);

	/* After all that: a driver that behaves finds a controller that works. */
	fuzz_behave(h);
	h_reset(h, UVFIO_RESET_FUNCTION);
	h_resume(h);
	fuzz_bring_up(h);
	fuzz_works(h);
	h_free(h);
	return 0;
}
