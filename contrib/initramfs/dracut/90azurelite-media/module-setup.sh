#!/bin/bash
# Puts azurelite-media and what it needs into the initramfs.

check() {
	return 255 # only where it is asked for
}

depends() {
	echo base
}

installkernel() {
	# Azure's drive is an IDE one on generation 1 and a SCSI one on generation 2.
	hostonly='' instmods ata_piix hv_storvsc sr_mod cdrom udf isofs
}

install() {
	inst_multiple cat mkdir mount rmdir umount
	# shellcheck disable=SC2154 # dracut sets it
	inst_script "$moddir/azurelite-media" /usr/bin/azurelite-media
	inst_hook pre-mount 10 "$moddir/azurelite-media.sh"
}
