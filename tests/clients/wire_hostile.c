// SPDX-License-Identifier: BSD-3-Clause
/* Everything that a client must not do, done to a vfio-user server: see wire_attack.h. */
#include "wire_attack.h"

int main(int argc, char **argv)
{
	static const struct attack *const tables[] = {
		attacks_frame, attacks_version, attacks_fds, attacks_calls, attacks_dma, NULL,
	};

	return attack_main(argc, argv, tables);
}
