<?php
// A test's identity provider: peer.json, written by the test, says where it listens and who the people are.
$dir = dirname(__DIR__);
$peer = json_decode(file_get_contents("$dir/peer.json"), true);
$config = [
    'baseurlpath' => $peer['url'],
    'certdir' => "$dir/cert/", 'datadir' => "$dir/", 'loggingdir' => "$dir/", 'metadatadir' => "$dir/metadata",
    'tempdir' => "$dir/tmp",
    'secretsalt' => $peer['salt'], 'auth.adminpassword' => $peer['salt'],
    'technicalcontact_email' => 'root@example.test', 'timezone' => 'UTC', 'language.default' => 'en',
    'logging.level' => 5, 'logging.handler' => 'file', 'logging.logfile' => 'simplesamlphp.log',
    'showerrors' => true, 'errorreporting' => false, 'usenewui' => false,
    'enable.saml20-idp' => true,
    'module.enable' => ['core' => true, 'saml' => true, 'exampleauth' => true],
    'store.type' => 'phpsession',
    'session.phpsession.savepath' => "$dir/tmp", 'session.phpsession.cookiename' => 'IDPSESSION',
    'session.cookie.secure' => false,
    'metadata.sources' => [['type' => 'flatfile']],
];
