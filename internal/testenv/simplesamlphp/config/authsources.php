<?php
$peer = json_decode(file_get_contents(dirname(__DIR__) . '/peer.json'), true);
$config = ['people' => array_merge(['exampleauth:UserPass'], $peer['people'])];
