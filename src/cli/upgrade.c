/* SPDX-License-Identifier: BSD-3-Clause */
/* `uvfio upgrade`: have a server replaced by what its executable is now. */
#include <stdio.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/remote.h"

int cmd_upgrade(int argc, char **argv)
{
	static const struct remote_command command = {
		.name = "upgrade",
		.help = "Replaces the server by a new one, of the executable that stands now where it was\n"
			"started from.  Its clients keep their connections and notice a pause.  When that\n"
			"cannot be done, the server goes on as before.",
	};
	struct json_object *answer, *result;
	struct remote_options o;
	struct remote r;
	int ret = remote_begin(&command, argc, argv, &o, &r), fd;

	if (ret >= 0)
		return ret;
	ret = 1;
	answer = remote_send(&r, command.name, NULL, NULL, 0) ? remote_next(&r) : NULL;
	if (answer) { /* it is still there to give one */
		result = remote_take_result(&r, answer);
		json_object_put(result);
		json_object_put(answer);
	} else {
		fd = control_connect(r.path);
		if (fd >= 0) {
			close(fd);
			ret = 0;
		} else {
			fprintf(stderr, "uvfio upgrade: the server at %s has ended\n", r.path);
		}
	}
	remote_close(&r);
	return ret;
}
