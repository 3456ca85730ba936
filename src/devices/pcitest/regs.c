/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Registers: what is read and written where.
 *
 * What a register reads is published (uvfio_reg_set()), so most reads never come here.  Only the
 * pads ask for it, to count them.
 */
#include <string.h>

#include "devices/pcitest/pcitest.h"

void pcitest_publish(struct pcitest *p, uint64_t offset, unsigned size, uint64_t value)
{
	uvfio_reg_set(p->dev, PCITEST_BAR_REGS, offset, size, value);
}

void pcitest_publish_role(struct pcitest *p)
{
	uint32_t role = p->pf ? PCITEST_ROLE_VF : p->vfs ? PCITEST_ROLE_PF : PCITEST_ROLE_PLAIN;

	pcitest_publish(p, PCITEST_ROLE, 4, role | (p->host ? PCITEST_ROLE_HOST : 0));
	pcitest_publish(p, PCITEST_VF_NUMBER, 4, p->pf ? p->index : p->num_vfs);
}

/* ---- counting ---- */

static void publish_counts(struct pcitest *p, unsigned bar, bool write, unsigned log2)
{
	pcitest_publish(p, write ? PCITEST_WRITES(bar, log2) : PCITEST_READS(bar, log2), 4,
			p->counts[bar][write][log2]);
}

static void count_access(struct pcitest *p, unsigned bar, bool write, unsigned size)
{
	unsigned log2 = (unsigned)__builtin_ctz(size);

	p->counts[bar][write][log2]++;
	publish_counts(p, bar, write, log2);
	uvfio_count_local(&p->accesses[write], 1);
}

static void clear_counts(struct pcitest *p)
{
	memset(p->counts, 0, sizeof(p->counts));
	for (uint64_t offset = PCITEST_COUNTS(0); offset < PCITEST_COUNTS_END; offset += 8)
		pcitest_publish(p, offset, 8, 0);
}

/* ---- registers of BAR 0 ---- */

/* The part of [@offset, @offset + @size) that lies in the register of @reg_size bytes at @reg goes
 * into *@value.  False when there is none. */
static bool merge(uint64_t offset, unsigned size, uint64_t written, uint64_t reg, unsigned reg_size,
		  uint64_t *value)
{
	bool touched = false;

	for (unsigned i = 0; i < size; i++) {
		uint64_t byte = offset + i - reg, mask;

		if (byte >= reg_size)
			continue;
		mask = 0xffull << 8 * byte;
		*value = (*value & ~mask) | ((written >> 8 * i & 0xff) << 8 * byte);
		touched = true;
	}
	return touched;
}

static bool merge32(uint64_t offset, unsigned size, uint64_t written, uint64_t reg, uint32_t *value)
{
	uint64_t wide = *value;
	bool touched = merge(offset, size, written, reg, 4, &wide);

	*value = (uint32_t)wide;
	return touched;
}

static void set_intx(struct pcitest *p, uint32_t value)
{
	p->intx = value & PCITEST_INTX_LEVEL;
	pcitest_publish(p, PCITEST_INTX, 4, p->intx);
	uvfio_intx_set(p->dev, p->intx);
}

static void raise_messages(struct pcitest *p, uint32_t bits)
{
	for (unsigned i = 0; i < 32 && i < p->nr_vectors; i++) {
		if (bits & 1u << i)
			uvfio_irq_raise(p->dev, i);
	}
}

static void set_status(struct pcitest *p, enum pcitest_status status, int error)
{
	p->status = status;
	p->error = (uint32_t)error;
	pcitest_publish(p, PCITEST_DMA_ERROR, 4, p->error);
	pcitest_publish(p, PCITEST_DMA_STATUS, 4, p->status);
}

/* A command that comes while there is one is dropped. */
static void start(struct pcitest *p)
{
	if (p->status == PCITEST_BUSY)
		return;
	p->next = p->regs;
	p->has_next = true;
	set_status(p, PCITEST_BUSY, 0);
	uvfio_kick(p->dev);
}

static void write_vf_regs(struct pcitest *p, uint64_t offset, unsigned size, uint64_t value)
{
	uint32_t command = 0;

	if (p->pf) {
		if (merge(offset, size, value, PCITEST_MAILBOX, 8, &p->mailbox))
			pcitest_publish(p, PCITEST_MAILBOX, 8, p->mailbox);
	} else if (p->vfs) {
		if (merge32(offset, size, value, PCITEST_VF_SELECT, &p->vf_select))
			pcitest_publish(p, PCITEST_VF_SELECT, 4, p->vf_select);
		if (merge(offset, size, value, PCITEST_VF_DATA, 8, &p->vf_data))
			pcitest_publish(p, PCITEST_VF_DATA, 8, p->vf_data);
		if (merge32(offset, size, value, PCITEST_VF_COMMAND, &command) && command)
			pcitest_vf_command(p, command);
	}
}

static void write_reg(struct pcitest *p, uint64_t offset, unsigned size, uint64_t value)
{
	struct pcitest_command *r = &p->regs;
	uint32_t v;

	if (merge(offset, size, value, PCITEST_SCRATCH, 8, &p->scratch))
		pcitest_publish(p, PCITEST_SCRATCH, 8, p->scratch);
	v = 0;
	if (merge32(offset, size, value, PCITEST_IRQ, &v))
		raise_messages(p, v);
	v = p->intx;
	if (merge32(offset, size, value, PCITEST_INTX, &v))
		set_intx(p, v);
	if (merge(offset, size, value, PCITEST_DMA_ADDRESS, 8, &r->address))
		pcitest_publish(p, PCITEST_DMA_ADDRESS, 8, r->address);
	if (merge32(offset, size, value, PCITEST_DMA_LENGTH, &r->length))
		pcitest_publish(p, PCITEST_DMA_LENGTH, 4, r->length);
	if (merge32(offset, size, value, PCITEST_DMA_BUFFER, &r->buffer))
		pcitest_publish(p, PCITEST_DMA_BUFFER, 4, r->buffer);
	r->command = 0; /* each one is whole: an access that leaves bytes out leaves them 0 */
	if (merge32(offset, size, value, PCITEST_DMA_COMMAND, &r->command))
		start(p);
	v = 0;
	if (merge32(offset, size, value, PCITEST_PME, &v) && v) {
		p->pme_delay = v;
		uvfio_kick(p->dev);
	}
	if (merge32(offset, size, value, PCITEST_FAIL, &p->fail))
		pcitest_publish(p, PCITEST_FAIL, 4, p->fail);
	write_vf_regs(p, offset, size, value);
	if (offset < PCITEST_COUNTS_END && offset + size > PCITEST_COUNTS(0))
		clear_counts(p);
}

void pcitest_command_end(struct pcitest *p, int result)
{
	bool message = uvfio_irq_is_message(p->dev);

	pthread_mutex_lock(&p->lock);
	set_status(p, result ? PCITEST_FAILED : PCITEST_DONE, -result);
	/* After the status, and before the interrupt: who sees either finds what it says. */
	pcitest_publish(p, PCITEST_DMA_COUNT, 4, ++p->ended);
	if (p->now.command & PCITEST_CMD_IRQ) {
		if (!message)
			set_intx(p, PCITEST_INTX_LEVEL);
		else if (p->now.command >> 16 < p->nr_vectors)
			uvfio_irq_raise(p->dev, p->now.command >> 16);
	}
	pthread_mutex_unlock(&p->lock);
}

/* ---- the areas ---- */

/* Accesses do not cross the end of an area. */
void pcitest_reg_write(void *priv, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	struct pcitest *p = priv;

	pthread_mutex_lock(&p->lock);
	count_access(p, bar, true, size);
	if (bar != PCITEST_BAR_REGS && offset >= PCITEST_PAD_DATA)
		uvfio_reg_set(p->dev, bar, offset, size, value);
	else if (bar == PCITEST_BAR_REGS && offset >= PCITEST_DOORBELLS)
		pcitest_publish(p, PCITEST_LAST_DOORBELL + (offset - PCITEST_DOORBELLS), size,
				value);
	else if (bar == PCITEST_BAR_REGS)
		write_reg(p, offset, size, value);
	pthread_mutex_unlock(&p->lock);
}

uint64_t pcitest_reg_read(void *priv, unsigned bar, uint64_t offset, unsigned size)
{
	struct pcitest *p = priv;
	uint64_t value;

	pthread_mutex_lock(&p->lock);
	count_access(p, bar, false, size);
	value = uvfio_reg_get(p->dev, bar, offset, size);
	pthread_mutex_unlock(&p->lock);
	return value;
}

void pcitest_config_write(void *priv, unsigned offset, unsigned size, uint32_t value)
{
	struct pcitest *p = priv;

	pthread_mutex_lock(&p->lock);
	pcitest_publish(p, PCITEST_CONFIG_WRITES, 4, ++p->config_writes);
	pthread_mutex_unlock(&p->lock);
}

static void reset_pad(struct pcitest *p, unsigned bar, uint64_t size)
{
	uvfio_reg_set(p->dev, bar, PCITEST_PAD_ID, 8, PCITEST_MAGIC);
	for (uint64_t offset = PCITEST_PAD_DATA; offset < size; offset += 8)
		uvfio_reg_set(p->dev, bar, offset, 8, 0);
}

/* What the 8 bytes at @offset hold after a reset. */
static uint64_t reset_value(const struct pcitest *p, uint64_t offset)
{
	switch (offset) {
	case PCITEST_ID:
		return PCITEST_MAGIC | (uint64_t)PCITEST_REVISION << 32;
	case PCITEST_NR_VECTORS:
		return p->nr_vectors;
	case PCITEST_MEMORY_SIZE:
		return p->memory_size;
	default:
		return 0;
	}
}

/* Whoever has a register mapped reads what it held, or what it holds afterwards, and nothing else
 * meanwhile: each is published once. */
void pcitest_regs_reset(struct pcitest *p)
{
	_Static_assert(PCITEST_VERSION == PCITEST_ID + 4 && PCITEST_NR_VECTORS % 8 == 0 &&
			       PCITEST_ROLE % 8 == 0 && PCITEST_VF_NUMBER == PCITEST_ROLE + 4,
		       "as reset_value() has them");
	pthread_mutex_lock(&p->lock);
	for (uint64_t offset = 0; offset < PCITEST_COUNTS(0); offset += 8) {
		if (offset != PCITEST_ROLE)
			pcitest_publish(p, offset, 8, reset_value(p, offset));
	}
	if (p->pads) {
		reset_pad(p, PCITEST_BAR_IO, PCITEST_IO_SIZE);
		reset_pad(p, PCITEST_BAR_SMALL, PCITEST_SMALL_SIZE);
	}
	clear_counts(p);
	p->regs = p->next = (struct pcitest_command){0};
	p->has_next = false;
	p->scratch = 0;
	p->pme_delay = p->fail = 0;
	p->ended = p->config_writes = 0;
	p->mailbox = p->pf_data = p->vf_data = 0;
	p->vf_select = p->vf_status = 0;
	pcitest_publish_role(p);
	set_intx(p, 0);
	set_status(p, PCITEST_IDLE, 0);
	pthread_mutex_unlock(&p->lock);
}

void pcitest_publish_all(struct pcitest *p, enum pcitest_status status, int error, uint32_t intx)
{
	pcitest_publish(p, PCITEST_SCRATCH, 8, p->scratch);
	pcitest_publish(p, PCITEST_CONFIG_WRITES, 4, p->config_writes);
	pcitest_publish(p, PCITEST_DMA_ADDRESS, 8, p->regs.address);
	pcitest_publish(p, PCITEST_DMA_LENGTH, 4, p->regs.length);
	pcitest_publish(p, PCITEST_DMA_BUFFER, 4, p->regs.buffer);
	pcitest_publish(p, PCITEST_DMA_COUNT, 4, p->ended);
	pcitest_publish_role(p);
	if (p->pf) {
		pcitest_publish(p, PCITEST_MAILBOX, 8, p->mailbox);
		pcitest_publish(p, PCITEST_PF_DATA, 8, p->pf_data);
	}
	if (p->vfs) {
		pcitest_publish(p, PCITEST_VF_SELECT, 4, p->vf_select);
		pcitest_publish(p, PCITEST_VF_STATUS, 4, p->vf_status);
		pcitest_publish(p, PCITEST_VF_DATA, 8, p->vf_data);
	}
	for (unsigned bar = 0; bar < 6; bar++)
		for (unsigned log2 = 0; log2 < 4; log2++) {
			publish_counts(p, bar, false, log2);
			publish_counts(p, bar, true, log2);
		}
	set_status(p, status, error);
	set_intx(p, intx);
}
