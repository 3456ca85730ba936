/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The commands of a client: which payload and how many fds each may have, and who handles it.
 *
 * Order of the checks for every command: the connection's state; the flags; whether there is such a
 * command; the length of the payload; the number of fds; then the command's own.
 */
#include <errno.h>
#include "wire/wire_private.h"

struct command {
	const char *name;
	uint32_t min, max; /* bytes of payload */
	unsigned max_fds;
	void (*fn)(struct wire_conn *conn, struct wire_msg *msg);
};

#define ANY (WIRE_MSG_MAX)

static const struct command commands[VFIO_USER_COMMANDS] = {
	[VFIO_USER_DMA_MAP] = {"DMA_MAP", sizeof(struct vfio_user_dma_map),
			       sizeof(struct vfio_user_dma_map), 1, wire_do_dma_map},
	/* It has no use for an fd, but SPDK's client sends that of the mapping. */
	[VFIO_USER_DMA_UNMAP] = {"DMA_UNMAP", sizeof(struct vfio_user_dma_unmap),
				 sizeof(struct vfio_user_dma_unmap) +
					 sizeof(struct vfio_user_bitmap),
				 1, wire_do_dma_unmap},
	[VFIO_USER_DEVICE_GET_INFO] = {"DEVICE_GET_INFO", sizeof(struct vfio_user_device_info), ANY,
				       0, wire_do_get_info},
	[VFIO_USER_DEVICE_GET_REGION_INFO] = {"DEVICE_GET_REGION_INFO",
					      sizeof(struct vfio_region_info), ANY, 0,
					      wire_do_region_info},
	[VFIO_USER_DEVICE_GET_REGION_IO_FDS] = {"DEVICE_GET_REGION_IO_FDS",
						sizeof(struct vfio_user_region_io_fds), ANY, 0,
						wire_do_region_io_fds},
	[VFIO_USER_DEVICE_GET_IRQ_INFO] = {"DEVICE_GET_IRQ_INFO", sizeof(struct vfio_irq_info), ANY,
					   0, wire_do_irq_info},
	[VFIO_USER_DEVICE_SET_IRQS] = {"DEVICE_SET_IRQS", sizeof(struct vfio_irq_set), ANY,
				       VFIO_USER_MAX_FDS, wire_do_set_irqs},
	[VFIO_USER_REGION_READ] = {"REGION_READ", sizeof(struct vfio_user_region_access),
				   sizeof(struct vfio_user_region_access), 0, wire_do_region_read},
	[VFIO_USER_REGION_WRITE] = {"REGION_WRITE", sizeof(struct vfio_user_region_access), ANY, 0,
				    wire_do_region_write},
	[VFIO_USER_DEVICE_RESET] = {"DEVICE_RESET", 0, 0, 0, wire_do_reset},
	[VFIO_USER_REGION_WRITE_MULTI] = {"REGION_WRITE_MULTI",
					  sizeof(struct vfio_user_write_multi), ANY, 0,
					  wire_do_write_multi},
	[VFIO_USER_DEVICE_FEATURE] = {"DEVICE_FEATURE", sizeof(struct vfio_device_feature), ANY, 1,
				      wire_do_feature},
	[VFIO_USER_MIG_DATA_READ] = {"MIG_DATA_READ", sizeof(struct vfio_user_mig_data),
				     sizeof(struct vfio_user_mig_data), 0, wire_do_mig_read},
	[VFIO_USER_MIG_DATA_WRITE] = {"MIG_DATA_WRITE", sizeof(struct vfio_user_mig_data), ANY, 0,
				      wire_do_mig_write},
};

bool wire_command_takes_fds(unsigned command)
{
	return command < VFIO_USER_COMMANDS && commands[command].max_fds;
}

static void hello(struct wire_conn *conn, struct wire_msg *msg)
{
	if (msg->hdr.command == VFIO_USER_VERSION) {
		wire_conn_hello(conn, msg);
		return;
	}
	wire_conn_complain(conn,
			   "its first message is command %u, not VERSION; the connection is "
			   "closed",
			   msg->hdr.command);
	wire_reply_error(conn, msg, EINVAL);
	conn->half_closed = true;
}

static int check(struct wire_conn *conn, const struct wire_msg *msg, const struct command **out)
{
	const struct command *command;

	if (msg->hdr.flags & ~(VFIO_USER_TYPE_MASK | VFIO_USER_NO_REPLY))
		return EINVAL;
	/* VERSION was, and what a server sends is not for us. */
	if (msg->hdr.command == VFIO_USER_VERSION || msg->hdr.command == VFIO_USER_DMA_READ ||
	    msg->hdr.command == VFIO_USER_DMA_WRITE)
		return EINVAL;
	if (msg->hdr.command >= VFIO_USER_COMMANDS || !commands[msg->hdr.command].fn)
		return ENOTTY;
	command = &commands[msg->hdr.command];
	if (msg->len < command->min || msg->len > command->max)
		return EINVAL;
	if (msg->bad_fds || msg->nr_fds > command->max_fds || msg->nr_fds > conn->rx_fds)
		return EINVAL;
	*out = command;
	return 0;
}

void wire_command(struct wire_conn *conn, struct wire_msg *msg)
{
	const struct command *command = NULL;
	int error;

	if (atomic_load_explicit(&conn->state, memory_order_relaxed) == WIRE_HELLO) {
		hello(conn, msg);
		return;
	}
	error = check(conn, msg, &command);
	if (error)
		wire_reply_error(conn, msg, error);
	else
		command->fn(conn, msg);
}
