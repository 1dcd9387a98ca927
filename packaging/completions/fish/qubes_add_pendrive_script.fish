complete -c qubes_add_pendrive_script -f
complete -c qubes_add_pendrive_script -l user -x -a '(__fish_complete_users)' -d 'Who receives'
complete -c qubes_add_pendrive_script -l home -x -a '(__fish_complete_directories)' -d 'Receive in this folder'
complete -c qubes_add_pendrive_script -l mode -x -a 'extract mount' -d 'How files get off the pendrive'
complete -c qubes_add_pendrive_script -l timeout -x -d 'How long to wait for dom0, in seconds'
complete -c qubes_add_pendrive_script -l progress -d 'Show progress even when stderr is no terminal'
complete -c qubes_add_pendrive_script -l help -d 'Show usage'
complete -c qubes_add_pendrive_script -l version -d 'Show the version'
