"""The reference guest's WinRM endpoint: genuine WS-Management with the Windows Remote Shell, in front of Wine.

Split by layer: `http` (connections), `auth` (NTLM), `soap` (messages), `faults`, `service` (operations),
`shells` (shells, commands, streams), `runner` (processes).
"""
